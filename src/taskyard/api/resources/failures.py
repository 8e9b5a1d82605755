"""Failures: groups of jobs that stand failed for the same reason."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from taskyard.api.cursors import PAGING, decode, encode, limit_of
from taskyard.api.documents import ID, JOBS, STARTED, fields_of, page, page_shape, summary
from taskyard.api.resources.bulk import RATE
from taskyard.api.resources.jobs import REASON, TENANT
from taskyard.api.routes import Asked, route
from taskyard.api.shapes import Flag, ListOf, Moment, Object, OneOf, OrNull, Text, Whole, Wrong, body
from taskyard.failures.queries import GroupFilter, GroupOverview, GroupPlace
from taskyard.failures.queries import Place as FailurePlace
from taskyard.failures.states import State
from taskyard.operations import failures
from taskyard.operations.bulk import order

_STATES = tuple(state.value for state in State)
_GROUP = Object(
    {
        "fingerprint": Text(), "task": Text(), "error_type": Text(), "reason": Text(),
        "message": Text(says="Without what differs from job to job; empty without `view_payload`."),
        "frames": ListOf(Text()), "state": OneOf(_STATES), "snoozed_until": OrNull(Moment()),
        "snoozed_release": Text(), "reopened_at": OrNull(Moment()), "note": Text(), "first_release": Text(),
        "count": Whole(says="Jobs that stand failed now."), "tenants": Whole(), "first_seen_at": Moment(),
        "last_seen_at": OrNull(Moment()), "seen_at": Moment(),
        "trend": ListOf(Whole(), says="How many failed in each of the last 24 hours, the current one last."),
        "sample_job": OrNull(ID),
    },
    name="FailureGroup",
)  # fmt: skip


def _group(found: GroupOverview) -> dict[str, Any]:
    return fields_of(found, *_GROUP.fields)


@route("GET", "failures", "view_failure", answer=page_shape(_GROUP, "FailureGroups"), query={
    "state": OneOf(_STATES), "task": Text(255, says="A name, or a prefix followed by *."), "tenant": TENANT,
    "empty": Flag(says="Also groups in which no job stands failed any more; to operators of all tenants alone."),
    **PAGING,
})  # fmt: skip
def list_failures(asked: Asked) -> Mapping[str, Any]:
    """Groups of failures, what failed last first."""
    said, limit = asked.query, limit_of(asked.query)
    wanted = GroupFilter(
        state=said.get("state", ""), task=said.get("task", ""), tenant=said.get("tenant"),
        empty=said.get("empty", False),
    )  # fmt: skip
    moment, _, name = decode(said, dt.datetime, str).partition("~")
    after = GroupPlace(dt.datetime.fromisoformat(moment), name) if moment else None
    found = failures.list_(asked.actor, wanted, after=after, limit=limit + 1)
    last = GroupPlace.of(found[limit - 1]) if len(found) > limit else None
    cursor = None if last is None else encode(f"{last.last_at.isoformat()}~{last.fingerprint}")
    return page([_group(one) for one in found[:limit]], cursor)


@route("GET", "failures/<str:fingerprint>", "view_failure", answer=_GROUP)
def show_failure(asked: Asked) -> Mapping[str, Any]:
    """One group."""
    return _group(failures.show(asked.actor, asked.path["fingerprint"]))


@route("GET", "failures/<str:fingerprint>/jobs", "view_failure", "view_job", answer=JOBS, query=PAGING)
def list_failed_jobs(asked: Asked) -> Mapping[str, Any]:
    """The jobs that stand failed in a group, what failed last first."""
    after = decode(asked.query, dt.datetime, uuid.UUID)
    place = None
    if after:
        moment, _, job = after.partition("~")
        place = FailurePlace(dt.datetime.fromisoformat(moment), uuid.UUID(job))
    limit = limit_of(asked.query)
    found, last = failures.jobs_of(asked.actor, asked.path["fingerprint"], after=place, limit=limit)
    cursor = None if last is None else encode(f"{last.failed_at.isoformat()}~{last.id}")
    return page([summary(job) for job in found], cursor)


_MEND = body(rate=RATE, reason=REASON, optional="*")


@route("POST", "failures/<str:fingerprint>/retry", "retry_job", body=_MEND, answer=STARTED, status=202)
def retry_failures(asked: Asked) -> Mapping[str, Any]:
    """Bring all jobs that stand failed in a group now back, at a rate. A job does it: cancel that to abort."""
    return _mend(asked, "retry")


@route("POST", "failures/<str:fingerprint>/discard", "discard_job", body=_MEND, answer=STARTED, status=202)
def discard_failures(asked: Asked) -> Mapping[str, Any]:
    """Set all jobs that stand failed in a group now aside as cancelled. A job does it: cancel that to abort."""
    return _mend(asked, "discard")


def _mend(asked: Asked, verb: str) -> Mapping[str, Any]:
    wanted = failures.mending(asked.actor, verb, asked.path["fingerprint"], **asked.body)
    return {"job": order.start(asked.actor, wanted).id}


@route("POST", "failures/<str:fingerprint>/snooze", "snooze_failure", answer=_GROUP, body=body(
    until=Moment(), until_release=Flag(), reason=REASON, optional="*"
))  # fmt: skip
def snooze_failure(asked: Asked) -> Mapping[str, Any]:
    """Leave a group out of what is open `until` a time, or with `until_release` until another release fails with it.

    For operators of all tenants, as are the next three.
    """
    until = asked.body.get("until")
    if (until is None) != bool(asked.body.get("until_release")):
        raise Wrong("until", "say either until when, or until_release as true.")
    if until is not None and until <= timezone.now():
        raise Wrong("until", "it must be a time to come.")
    reason = asked.body.get("reason", "")
    return _group(failures.snooze(asked.actor, asked.path["fingerprint"], until=until, reason=reason))


_REASON = body(reason=REASON, optional="*")


@route("POST", "failures/<str:fingerprint>/resolve", "resolve_failure", body=_REASON, answer=_GROUP)
def resolve_failure(asked: Asked) -> Mapping[str, Any]:
    """Say that its cause is mended: the next failure opens the group again."""
    return _group(failures.resolve(asked.actor, asked.path["fingerprint"], **asked.body))


@route("POST", "failures/<str:fingerprint>/reopen", "resolve_failure", body=_REASON, answer=_GROUP)
def reopen_failure(asked: Asked) -> Mapping[str, Any]:
    """Take back a snooze or a resolve."""
    return _group(failures.reopen(asked.actor, asked.path["fingerprint"], **asked.body))


@route("POST", "failures/<str:fingerprint>/note", "resolve_failure", body=body(text=Text(10_000)), answer=_GROUP)
def note_failure(asked: Asked) -> Mapping[str, Any]:
    """Keep a note with a group, in the place of the one before."""
    return _group(failures.note(asked.actor, asked.path["fingerprint"], asked.body["text"]))
