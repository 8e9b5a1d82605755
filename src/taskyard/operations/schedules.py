"""Verbs about schedules. One for several tenants is nobody's own: to one of a tenant it does not exist."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from django.utils import timezone

from taskyard.enqueue import control_alias
from taskyard.errors import NotFound
from taskyard.jobs.redaction import redact_text, restored_arguments
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.operations.acting.verbs import verb
from taskyard.schedules import backfill as fills
from taskyard.schedules.backfill import Outlook, Wish
from taskyard.schedules.models import USER, Backfill, Occurrence, Schedule, ScheduleQuerySet
from taskyard.schedules.trigger import run_by_hand
from taskyard.tenancy import tenant_context
from taskyard.tenancy.context import current_tenant

#: What a definition says that may hold secrets: the audit tells that it changed, and not what it was.
_PAYLOAD = ("args", "kwargs", "options")
_DEFINED = (
    "description", "task", "queue", "priority", "tenants", "spread", "recurrence", "bounds", "overlap", "catch_up",
    "catch_up_count", "catch_up_window", "pause_after_failures", "enabled", *_PAYLOAD,
)  # fmt: skip


@verb("schedule", "view_schedule", reads=True)
def list_(actor: Actor) -> ScheduleQuerySet:
    """Every schedule that exists for the actor. Arguments are shown to whoever may see payload alone."""
    return visible(actor)


def visible(actor: Actor) -> ScheduleQuerySet:
    """Those that exist for an actor."""
    rows = Schedule.objects.visible_to(actor.tenant)
    return rows if actor.is_for_all else rows.filter(tenants__isnull=True)


@verb("schedule", "view_schedule", reads=True)
def find(actor: Actor, name: str, *, tenant: str = "") -> Schedule:
    """The one of that name; of a tenant's own, or with ``tenant`` of that one's. Raises ``NotFound``."""
    owner = actor.tenant if not tenant and actor.tenant else tenant
    row: Schedule | None = visible(actor).filter(name=name, tenant=owner).first()
    if row is None:
        raise NotFound("schedule", name)
    return row


@verb("schedule", "run_schedule")
def run(actor: Actor, row: Schedule, *, reason: str = "") -> Occurrence:
    """Runs one now, once more; its overlap policy holds.

    To an actor of a tenant, one that the tenant's users made runs only so often as they may have it run.
    """
    with _about(actor, row):
        if row.origin == USER and not actor.is_for_all:
            occurrence = Schedule.objects.for_tenant(row.tenant).run_now(row.name, by=actor.by)
        else:
            occurrence = row.run_now(by=actor.by)
        write_down(actor, "schedule", "run", _run_deed(row.tenant, row.name, occurrence, reason))
    return occurrence


@verb("schedule", "run_schedule", for_all=True)
def run_declared(actor: Actor, name: str, *, reason: str = "") -> Occurrence:
    """Runs one that the code declares once now, whether it has a row yet or not."""
    with together():
        occurrence = run_by_hand(name, by=actor.by, now=timezone.now())
        write_down(actor, "schedule", "run", _run_deed("", name, occurrence, reason))
    return occurrence


@verb("schedule", "pause_schedule")
def pause(actor: Actor, row: Schedule, *, until: dt.datetime | None = None, reason: str = "") -> None:
    """Runs one no more until a time, or until it is resumed; what is due meanwhile is recorded."""
    with _about(actor, row):
        before = {"paused": row.is_paused(timezone.now())}
        row.pause(until=until, reason=redact_text(reason), by=actor.by)
        after = {"paused": True, "until": until and until.isoformat()}
        _write(actor, "pause", row, before=before, after=after, reason=reason)


@verb("schedule", "pause_schedule")
def resume(actor: Actor, row: Schedule, *, reason: str = "") -> None:
    """Runs one again, from its next due time on, also after it was parked."""
    with _about(actor, row):
        before = {"paused": row.is_paused(timezone.now()), "parked": bool(row.error)}
        row.resume(by=actor.by)
        _write(actor, "resume", row, before=before, after={"paused": False, "parked": False}, reason=reason)


@verb("schedule", "change_schedule")
def enable(actor: Actor, row: Schedule, *, reason: str = "") -> None:
    """Decides due times of one again, from the next one on."""
    _set_enabled(actor, row, True, reason)


@verb("schedule", "change_schedule")
def disable(actor: Actor, row: Schedule, *, reason: str = "") -> None:
    """Decides nothing of one: its due times leave no trace until it is enabled again."""
    _set_enabled(actor, row, False, reason)


def _set_enabled(actor: Actor, row: Schedule, is_enabled: bool, reason: str) -> None:
    with _about(actor, row):
        before = {"enabled": row.enabled}
        row.enable() if is_enabled else row.disable()
        verb_ = "enable" if is_enabled else "disable"
        _write(actor, verb_, row, before=before, after={"enabled": is_enabled}, reason=reason)


@verb("schedule", "change_schedule", "view_payload")
def define(actor: Actor, /, *, name: str, tenant: str = "", **said: Any) -> Schedule:
    """Makes or changes a schedule, see ``Schedule.objects.define``.

    An actor of a tenant defines that tenant's own, for that tenant alone. Whoever may not see arguments cannot say what
    they are to be. Where arguments stand as they are shown, ``[redacted]``, secrets stay what they are; elsewhere that
    raises :class:`~taskyard.errors.StillHidden`. ``as_user``: as one of the tenant's users, within
    ``TASKYARD["USER_SCHEDULES"]``.
    """
    as_user = said.pop("as_user", False)
    owner = actor.within(tenant or None).tenant or ""
    if not (actor.is_for_all or as_user):
        said = {**said, "tenants": None}
    with outside():
        with together():
            before = Schedule.objects.filter(tenant=owner, name=name).first()
            if before is not None:
                _refuse_others(actor, before)
                said |= _restored(before, said)
            if as_user:
                row = Schedule.objects.for_tenant(owner).define(name, by=actor.by, **said)
            else:
                row = Schedule.objects.define(name=name, tenant=owner, by=actor.by, database=control_alias(), **said)
            old, new = _said(before), _said(row)
            changed = [column for column in _DEFINED if old.get(column) != new.get(column)]
            deed = Deed(
                target=name, tenant=owner, said={"changed": changed, "version": row.version},
                before=before and _shown(old, changed), after=_shown(new, changed),
            )  # fmt: skip
            write_down(actor, "schedule", "define", deed)
    return row


@verb("schedule", "delete_schedule")
def remove(actor: Actor, row: Schedule, *, reason: str = "") -> None:
    """Deletes one with its decisions and versions; its jobs stay."""
    with _about(actor, row):
        name, tenant = row.name, row.tenant
        Schedule.objects.remove(name, tenant=tenant)
        write_down(actor, "schedule", "remove", Deed(target=name, tenant=tenant, reason=reason))


@verb("schedule", "backfill_schedule")
def backfill(actor: Actor, row: Schedule, wish: Wish, *, reason: str = "") -> Backfill:
    """Runs due times of the past that did not run, a few at a time; see ``Schedule.backfill``."""
    with _about(actor, row):
        fill = fills.start(row, wish, by=actor.by)
        said = {"since": fill.since.isoformat(), "until": fill.until.isoformat(), "per_minute": fill.per_minute}
        _write(actor, "backfill", row, after={"backfill": fill.pk}, said=said, reason=reason)
    return fill


@verb("schedule", "backfill_schedule", reads=True)
def look_ahead(actor: Actor, row: Schedule, wish: Wish) -> Outlook:
    """What a back-fill would do, in due times."""
    _refuse_others(actor, row)
    return fills.look_ahead(row, wish)


@verb("schedule", "backfill_schedule")
def cancel_backfill(actor: Actor, fill: Backfill, *, reason: str = "") -> bool:
    """Feeds no more of a back-fill; whether it was running. Jobs that were written already go on."""
    with _about(actor, fill.schedule):
        is_ended = fill.cancel(by=actor.by)
        said = {"backfill": fill.pk}
        _write(actor, "cancel_backfill", fill.schedule, said=said, count=int(is_ended), reason=reason)
    return is_ended


@contextlib.contextmanager
def _about(actor: Actor, row: Schedule) -> Iterator[None]:
    _refuse_others(actor, row)
    with outside(), together():
        yield


def _refuse_others(actor: Actor, row: Schedule) -> None:
    if not actor.owns(row.tenant) or not (actor.is_for_all or row.tenants is None):
        raise NotFound("schedule", row.name)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """Whatever tenant is current: else a change would take the way of that tenant's outbox, and be done later."""
    if not current_tenant():
        yield
        return
    with tenant_context(""):
        yield


def _write(actor: Actor, name: str, row: Schedule, **more: Any) -> None:
    write_down(actor, "schedule", name, Deed(target=row.name, tenant=row.tenant, **more))


def _run_deed(tenant: str, name: str, occurrence: Occurrence, reason: str) -> Deed:
    after = {"decision": occurrence.decision, "job": occurrence.job and str(occurrence.job), "jobs": occurrence.jobs}
    return Deed(
        target=name, tenant=tenant, count=int(occurrence.decision == "fired"), after=after, reason=reason
    )  # fmt: skip


def _restored(row: Schedule, said: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: said[name] for name in ("args", "kwargs") if name in said}
    args, kwargs = given.get("args", row.args), given.get("kwargs", row.kwargs)
    restored = restored_arguments(row.task, args=args, kwargs=kwargs, stored=(row.args, row.kwargs))
    return {name: value for name, value in zip(("args", "kwargs"), restored, strict=True) if name in given}


def _said(row: Schedule | None) -> dict[str, Any]:
    return {} if row is None else {column: getattr(row, column) for column in _DEFINED}


def _shown(said: Mapping[str, Any], changed: list[str]) -> dict[str, Any]:
    return {column: said[column] for column in changed if column not in _PAYLOAD}
