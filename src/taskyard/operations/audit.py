"""The read side of the audit."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from django.db.models import Q

from taskyard.jobs.pages.keyset import Page, page_of, place_from
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.verbs import verb
from taskyard.operations.models import AuditEntry


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries are meant; what is not given matches everything."""

    #: A name, or a user's primary key.
    who: str = ""
    kind: str = ""
    verb: str = ""
    target: str = ""
    via: str = ""
    #: A name, a user's primary key, or a target.
    text: str = ""
    #: Written at or after.
    since: dt.datetime | None = None


def page(actor: Actor, wanted: AuditFilter | None = None, *, after: str = "", limit: int = 50) -> Page[AuditEntry]:
    """The same as a page of a list of any length; ``after``: the place of the page before, as text."""
    actor.require("view_auditentry")
    wanted = wanted or AuditFilter()
    entries, rest = AuditEntry.objects.visible_to(actor.tenant), Q()
    if wanted.kind and wanted.target:
        # These have an index together.
        entries = entries.filter(kind=wanted.kind, target=wanted.target)
    said = {name: getattr(wanted, name) for name in ("kind", "verb", "target", "via") if getattr(wanted, name)}
    rest &= Q(**said)
    if wanted.who:
        rest &= Q(who=wanted.who) | Q(user=wanted.who)
    if wanted.text:
        rest &= Q(who=wanted.text) | Q(user=wanted.text) | Q(target=wanted.text)
    if wanted.since is not None:
        rest &= Q(at__gte=wanted.since)
    place = place_from(after, AuditEntry, order=("id",)) if after else None
    return page_of(entries, ("id",), wanted=rest, after=place, limit=limit)


@verb("auditentry", "view_auditentry", reads=True)
def list_(
    actor: Actor, wanted: AuditFilter | None = None, *, limit: int = 100, before: int | None = None
) -> list[AuditEntry]:
    """What was done by whom, the latest first; ``before``: the id of the last entry of the page before."""
    wanted = wanted or AuditFilter()
    entries = AuditEntry.objects.visible_to(actor.tenant)
    said: dict[str, Any] = {name: getattr(wanted, name) for name in ("kind", "verb", "target", "via")}
    entries = entries.filter(**{name: value for name, value in said.items() if value})
    if wanted.who:
        entries = entries.filter(Q(who=wanted.who) | Q(user=wanted.who))
    if wanted.since is not None:
        entries = entries.filter(at__gte=wanted.since)
    if before is not None:
        entries = entries.filter(id__lt=before)
    return list(entries.order_by("-id")[:limit])
