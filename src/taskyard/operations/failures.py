"""Verbs about failures: groups of jobs that stand failed for the same reason.

A group is everybody's: what is said of one is for operators of all tenants. Its jobs are retried and discarded by
whoever may do that to jobs, as far as they are their own.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any

from django.utils import timezone

from taskyard.errors import NotFound
from taskyard.failures import groups, queries
from taskyard.failures.models import FailureGroup
from taskyard.failures.queries import FailureSelection, GroupFilter, GroupOverview, GroupPlace, Place
from taskyard.failures.states import Said, state_now
from taskyard.jobs.queries import JobFilter, JobSummary, summaries
from taskyard.jobs.states import State
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.blind import blind_group, blind_summary
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.verbs import find_verb, verb
from taskyard.operations.bulk.order import Order, checked_rate, done_here, selected
from taskyard.settings import get_settings

_FAILED = (State.FAILED.value,)
_KIND = "group of failures"


@verb("failure", "view_failure", reads=True)
def list_(
    actor: Actor, wanted: GroupFilter | None = None, *, after: GroupPlace | None = None, limit: int = 50
) -> list[GroupOverview]:
    """Groups, those that failed last first; ``after``: the place of the last one of the page before."""
    wanted = wanted or GroupFilter()
    own = dataclasses.replace(wanted, tenant=actor.within(wanted.tenant).tenant)
    return [_shown(actor, group) for group in queries.list_groups(own, timezone.now(), limit=limit, after=after)]


@verb("failure", "view_failure", reads=True)
def show(actor: Actor, fingerprint: str) -> GroupOverview:
    """One group; what stands failed in it is a list of jobs (``JobFilter(group=...)``)."""
    return _found(actor, fingerprint)


def jobs_of(
    actor: Actor, fingerprint: str, *, after: Place | None = None, limit: int = 50
) -> tuple[list[JobSummary], Place | None]:
    """A page of what stands failed in one group, the last first, and where the next page begins; None: nowhere."""
    actor.require("view_job")
    group = show(actor, fingerprint)
    standing = FailureSelection(fingerprint=group.fingerprint, at=timezone.now(), tenant=actor.tenant)
    places = standing.batch(after, limit + 1)
    found = summaries([place.id for place in places[:limit]], tenant=actor.tenant)
    rows = [found[place.id] for place in places[:limit] if place.id in found]
    shown = rows if actor.sees_payload else [blind_summary(job) for job in rows]
    return shown, places[limit - 1] if len(places) > limit else None


# -- its jobs ----------------------------------------------------------------------------------------------------------


@verb("failure", "retry_job", takes=_FAILED)
def retry(actor: Actor, fingerprint: str, *, rate: float | None = None, reason: str = "") -> int:
    """Brings what stands failed in a group back, here and now; how many jobs."""
    return done_here(actor, mending(actor, "retry", fingerprint, rate=rate, reason=reason))


@verb("failure", "discard_job", takes=_FAILED)
def discard(actor: Actor, fingerprint: str, *, rate: float | None = None, reason: str = "") -> int:
    """Sets what stands failed in a group aside as cancelled, here and now; how many jobs."""
    return done_here(actor, mending(actor, "discard", fingerprint, rate=rate, reason=reason))


def mending(actor: Actor, name: str, /, fingerprint: str, *, rate: float | None = None, reason: str = "") -> Order:
    """To ``retry`` or ``discard`` what stands failed in a group now, see :mod:`taskyard.operations.bulk.order`.

    Nothing is done yet. One that is brought back and fails again is not meant. Raises
    :class:`~taskyard.errors.NotFound` where nothing of the actor's own stands failed in it.
    """
    actor.require(find_verb("failure", name).permission)
    if not queries.is_there(fingerprint, tenant=actor.tenant):
        raise NotFound(_KIND, fingerprint)
    wanted = JobFilter(group=fingerprint, states=_FAILED, tenant=actor.tenant)
    return Order(
        kind="failure", verb=name, act=name, target=fingerprint, selection=selected(wanted, _FAILED),
        rate=checked_rate(rate), reason=reason,
    )  # fmt: skip


# -- what is said of it ------------------------------------------------------------------------------------------------


@verb("failure", "snooze_failure", for_all=True)
def snooze(actor: Actor, fingerprint: str, *, until: dt.datetime | None, reason: str = "") -> GroupOverview:
    """Leaves a group out of what is open until a time or, with None, until another release fails with it.

    Raises :class:`~taskyard.errors.NoRelease` where nobody can tell that.
    """
    return _say(actor, "snooze", fingerprint, partial(groups.snooze, until=until, now=timezone.now()), reason)


@verb("failure", "resolve_failure", for_all=True)
def resolve(actor: Actor, fingerprint: str, *, reason: str = "") -> GroupOverview:
    """Says that its cause is mended: the next failure opens the group again."""
    return _say(actor, "resolve", fingerprint, groups.resolve, reason)


@verb("failure", "resolve_failure", for_all=True)
def reopen(actor: Actor, fingerprint: str, *, reason: str = "") -> GroupOverview:
    """Takes back a snooze or a resolve."""
    return _say(actor, "reopen", fingerprint, groups.reopen, reason)


@verb("failure", "resolve_failure", for_all=True)
def note(actor: Actor, fingerprint: str, text: str, *, reason: str = "") -> GroupOverview:
    """Keeps a note with a group, in the place of the one before; the audit tells that, and not what it says."""
    return _say(actor, "note", fingerprint, partial(groups.note, text=text), reason)


def _say(actor: Actor, name: str, fingerprint: str, change: Callable[[str], object], reason: str) -> GroupOverview:
    with together():
        before = _standing(fingerprint)
        change(fingerprint)
        deed = Deed(target=fingerprint, before=before, after=_standing(fingerprint), reason=reason)
        write_down(actor, "failure", name, deed)
        return _found(actor, fingerprint)


def _standing(fingerprint: str) -> dict[str, Any]:
    settings = get_settings()
    row = FailureGroup.objects.using(settings.database).select_for_update().filter(pk=fingerprint).first()
    if row is None:
        raise NotFound(_KIND, fingerprint)
    said = Said(row.state, row.snoozed_until, row.snoozed_release)
    return {
        "state": state_now(said, now=timezone.now(), release=settings.release).value,
        "snoozed_until": row.snoozed_until and row.snoozed_until.isoformat(),
        "snoozed_release": row.snoozed_release, "has_note": bool(row.note),
    }  # fmt: skip


def _found(actor: Actor, fingerprint: str) -> GroupOverview:
    group = queries.find_group(fingerprint, timezone.now(), tenant=actor.tenant)
    if group is None:
        raise NotFound(_KIND, fingerprint)
    return _shown(actor, group)


def _shown(actor: Actor, group: GroupOverview) -> GroupOverview:
    return group if actor.sees_payload else blind_group(group)
