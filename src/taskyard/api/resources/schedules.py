"""Schedules: find, define, look ahead, run, hold back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Q
from django.utils import timezone

from taskyard.api.cursors import PAGING, decode, limit_of, next_of
from taskyard.api.documents import DONE, ID, fields_of, page, page_shape
from taskyard.api.resources.jobs import REASON, TENANT
from taskyard.api.routes import Answer, Asked, route
from taskyard.api.shapes import (
    Anything,
    Flag,
    ListOf,
    Moment,
    Number,
    Object,
    OneOf,
    OrNull,
    Text,
    Whole,
    Wrong,
    body,
)  # fmt: skip
from taskyard.errors import InvalidRecurrence, NotFound, TaskyardError
from taskyard.jobs.pages.keyset import page_of, place_from
from taskyard.jobs.redaction import shown_arguments
from taskyard.operations import schedules
from taskyard.schedules.decisions import MOST_LAST, CatchUp, Decision, Overlap
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.recurrence import bounds_from_json, explain, recurrence_from_json

_STATES = ("on", "paused", "disabled", "parked", "triggered", "over")
_OVERLAPS, _CATCH_UPS = (tuple(one.value for one in kind) for kind in (Overlap, CatchUp))
_RECURRENCE = Anything(
    dict,
    says='{"kind": "cron", "expression": "0 8 * * 1", "timezone": "Europe/Berlin"}, {"kind": "every", "seconds": 900} '
    'or {"kind": "at", "at": "2027-02-01T08:00:00+00:00"}',
)
_BOUNDS = Anything(dict, says="`start`, `end`, `max_runs`, `calendars`, `window_seconds`.")
_SCHEDULE = Object(
    {
        "id": Whole(), "name": Text(), "tenant": Text(), "origin": Text(), "description": Text(), "task": Text(),
        "args": OrNull(Anything(list)), "kwargs": OrNull(Anything(dict)), "queue": Text(), "priority": OrNull(Whole()),
        "recurrence": _RECURRENCE, "when": Text(says="The recurrence in words."), "bounds": _BOUNDS,
        "overlap": OneOf(_OVERLAPS), "catch_up": OneOf(_CATCH_UPS), "enabled": Flag(), "state": OneOf(_STATES),
        "paused_until": OrNull(Moment()), "paused_by": Text(), "pause_reason": Text(), "next_at": OrNull(Moment()),
        "last_at": OrNull(Moment()), "runs": Whole(), "version": Whole(), "error": Text(),
        "subject_type": Text(), "subject_id": Text(), "created_at": Moment(), "updated_at": Moment(),
        "payload_hidden": Flag(says="Arguments are left out."),
    },
    name="Schedule",
)  # fmt: skip
_OF_ROW = tuple(name for name in _SCHEDULE.fields if name not in ("when", "state", "payload_hidden"))
_DECISION = Object(
    {
        "due_at": Moment(), "effective_at": Moment(), "decided_at": Moment(), "mark": Text(), "tenant": Text(),
        "decision": OneOf(tuple(one.value for one in Decision)), "reason": Text(), "job": OrNull(ID), "jobs": Whole(),
        "version": Whole(), "actor": Text(),
    },
    name="Decision",
)  # fmt: skip
_WITH_DECISIONS = Object({**_SCHEDULE.fields, "decisions": ListOf(_DECISION)}, name="ScheduleWithDecisions")
#: Decisions that one schedule is shown with.
_LAST = 10


def _state(row: Schedule, now: dt.datetime) -> str:
    if row.error:
        return "parked"
    if not row.enabled:
        return "disabled"
    if row.is_paused(now):
        return "paused"
    return "triggered" if row.is_triggered else "on" if row.next_at else "over"


def _when(row: Schedule) -> str:
    try:
        return explain(recurrence_from_json(row.recurrence))
    except TaskyardError:
        return "nobody can tell"


def _document(asked: Asked, row: Schedule) -> dict[str, Any]:
    is_blind = not asked.actor.sees_payload
    args, kwargs = (None, None) if is_blind else shown_arguments(row.task, args=row.args, kwargs=row.kwargs)
    said = {"when": _when(row), "state": _state(row, timezone.now()), "payload_hidden": is_blind}
    return {**fields_of(row, *_OF_ROW), "args": args, "kwargs": kwargs, **said}


def _decision(row: Occurrence) -> dict[str, Any]:
    return fields_of(row, *_DECISION.fields)


def _row(asked: Asked) -> Schedule:
    """The one that the address names, if it exists for the caller."""
    rows = schedules.visible(asked.actor)
    text = asked.path["id"]
    row: Schedule | None = rows.filter(pk=int(text)).first() if text.isdecimal() and len(text) < 19 else None
    if row is None:
        raise NotFound("schedule", text)
    return row


@route("GET", "schedules", "view_schedule", answer=page_shape(_SCHEDULE, "Schedules"), query={
    "name": Text(200), "prefix": Text(200, says="The beginning of a name."), "task": Text(255), "tenant": TENANT,
    "subject_type": Text(100, says="`label.model` of a row of the project's own, with subject_id."),
    "subject_id": Text(100), **PAGING,
})  # fmt: skip
def list_schedules(asked: Asked) -> Mapping[str, Any]:
    """Schedules, those that were made last first."""
    said = asked.query
    rows = schedules.list_(asked.actor)
    if "tenant" in said:
        rows = rows.filter(tenant=asked.actor.within(said["tenant"]).tenant)
    if said.get("prefix"):
        rows = rows.starting_with(said["prefix"])
    if "subject_type" in said or "subject_id" in said:
        rows = rows.filter(subject_type=said.get("subject_type", ""), subject_id=said.get("subject_id", ""))
    rest = Q(**{name: said[name] for name in ("name", "task") if name in said})
    place = place_from(after, Schedule, order=("id",)) if (after := decode(said, int)) else None
    found = page_of(rows, ("id",), wanted=rest, after=place, limit=limit_of(said))
    return page([_document(asked, row) for row in found.rows], next_of(found))


@route("GET", "schedules/<str:id>", "view_schedule", answer=_WITH_DECISIONS)
def show_schedule(asked: Asked) -> Mapping[str, Any]:
    """One schedule, and what was decided about its last due times."""
    asked.actor.require("view_schedule")
    row = _row(asked)
    last = Occurrence.objects.all().filter(schedule=row).order_by("-due_at", "-tenant")[:_LAST]
    return {**_document(asked, row), "decisions": [_decision(each) for each in last]}


_DUE = Object({"at": Moment(), "nominal": Text(says="As clocks there show it."), "mark": Text()}, name="Due")


@route("GET", "schedules/<str:id>/next", "view_schedule", query={"count": Whole(1, 1_000)},
       answer=Object({"items": ListOf(_DUE)}, name="Dues"))  # fmt: skip
def next_of_schedule(asked: Asked) -> Mapping[str, Any]:
    """The next due times as the scheduler will decide them; none of one that is disabled or parked."""
    asked.actor.require("view_schedule")
    row = _row(asked)
    dues = row.preview(asked.query.get("count", 10)) if row.enabled and not row.error else []
    return {"items": [{"at": due.at, "nominal": due.nominal.isoformat(), "mark": due.mark} for due in dues]}


_SECONDS = Number(0, 366 * 86_400, from_least=True)
_DEFINITION = {
    "name": Text(200, 1), "task": Text(255, 1), "recurrence": _RECURRENCE, "tenant": TENANT, "args": Anything(list),
    "kwargs": Anything(dict), "queue": Text(255), "priority": OrNull(Whole(-100, 100)), "bounds": _BOUNDS,
    "overlap": OneOf(_OVERLAPS), "catch_up": OneOf(_CATCH_UPS), "catch_up_count": Whole(1, MOST_LAST),
    "catch_up_window_seconds": OrNull(_SECONDS), "pause_after_failures": OrNull(Whole(1, 100)),
    "description": Text(2_000), "subject_type": Text(100), "subject_id": Text(100), "enabled": Flag(),
}  # fmt: skip
_REQUIRED = ("name", "task", "recurrence")


@route("POST", "schedules", "change_schedule", "view_payload", answer=_SCHEDULE, statuses=(201, 200),
       body=Object(_DEFINITION, frozenset(_DEFINITION) - frozenset(_REQUIRED)))  # fmt: skip
def define_schedule(asked: Asked) -> Answer:
    """Make a schedule, or change the one of that name: it replaces the whole definition. Takes `view_payload` too.

    People of a tenant define their tenant's own, within what `TASKYARD["USER_SCHEDULES"]` allows its users; `queue`
    and `priority` are not for them to say. 200: there was one of that name.
    """
    said = _said(asked.body)
    name, tenant = said.pop("name"), said.pop("tenant", "")
    owner = asked.actor.within(tenant or None).tenant or ""
    is_new = not schedules.visible(asked.actor).filter(name=name, tenant=owner).exists()
    as_user = bool(owner) and not asked.actor.is_for_all
    row = schedules.define(asked.actor, name=name, tenant=tenant, as_user=as_user, **said)
    return Answer(_document(asked, row), 201 if is_new else 200)


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    said = dict(given)
    for name, read in (("recurrence", recurrence_from_json), ("bounds", bounds_from_json)):
        if name in said:
            said[name] = _read(name, read, said[name])
    window = said.pop("catch_up_window_seconds", None)
    if window is not None:
        said["catch_up_window"] = dt.timedelta(seconds=window)
    about = said.pop("subject_type", ""), said.pop("subject_id", "")
    if all(about):
        said["subject"] = about
    elif any(about):
        raise Wrong("subject_id", "say both subject_type and subject_id, or neither.")
    return said


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except InvalidRecurrence as error:
        raise Wrong(name, str(error)) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise Wrong(name, f"nobody can make anything of it: {error!s:.200}.") from error


_REASON = body(reason=REASON, optional="*")


@route("DELETE", "schedules/<str:id>", "delete_schedule", answer=DONE)
def remove_schedule(asked: Asked) -> Mapping[str, Any]:
    """Delete a schedule with its decisions and versions; its jobs stay."""
    asked.actor.require("delete_schedule")
    schedules.remove(asked.actor, _row(asked))
    return {"changed": 1}


@route("POST", "schedules/<str:id>/run", "run_schedule", body=_REASON, answer=_DECISION)
def run_schedule(asked: Asked) -> Mapping[str, Any]:
    """Run a schedule once more, now; its overlap policy holds, and `decision` tells what became of it.

    To people of a tenant, one that its users made runs not sooner than `shortest_interval` after its last run.
    """
    asked.actor.require("run_schedule")
    return _decision(schedules.run(asked.actor, _row(asked), **asked.body))


@route("POST", "schedules/<str:id>/pause", "pause_schedule", answer=DONE,
       body=body(until=OrNull(Moment()), reason=REASON, optional="*"))  # fmt: skip
def pause_schedule(asked: Asked) -> Mapping[str, Any]:
    """Run a schedule no more, `until` a time or until it is resumed; what is due meanwhile is recorded."""
    asked.actor.require("pause_schedule")
    until = asked.body.get("until")
    if until is not None and until <= timezone.now():
        raise Wrong("until", "it must be a time to come.")
    schedules.pause(asked.actor, _row(asked), **asked.body)
    return {"changed": 1}


@route("POST", "schedules/<str:id>/resume", "pause_schedule", body=_REASON, answer=DONE)
def resume_schedule(asked: Asked) -> Mapping[str, Any]:
    """Run a schedule again, from its next due time on, also after it was parked."""
    asked.actor.require("pause_schedule")
    schedules.resume(asked.actor, _row(asked), **asked.body)
    return {"changed": 1}


@route("POST", "schedules/<str:id>/enable", "change_schedule", body=_REASON, answer=DONE)
def enable_schedule(asked: Asked) -> Mapping[str, Any]:
    """Decide due times again, from the next one on."""
    asked.actor.require("change_schedule")
    schedules.enable(asked.actor, _row(asked), **asked.body)
    return {"changed": 1}


@route("POST", "schedules/<str:id>/disable", "change_schedule", body=_REASON, answer=DONE)
def disable_schedule(asked: Asked) -> Mapping[str, Any]:
    """Decide nothing: due times leave no trace until it is enabled again."""
    asked.actor.require("change_schedule")
    schedules.disable(asked.actor, _row(asked), **asked.body)
    return {"changed": 1}
