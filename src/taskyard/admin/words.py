"""Rows in words: what state one is in and why, what differs, who did it."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.formats import date_format

from taskyard.admin.fields import json_text
from taskyard.errors import TaskyardError
from taskyard.jobs.redaction import redact, shown_arguments
from taskyard.monitoring.words import counted
from taskyard.operations import Actor
from taskyard.operations.bulk.order import Preview
from taskyard.schedules.models import Schedule
from taskyard.schedules.recurrence import explain, recurrence_from_json
from taskyard.schedules.sources.reconcile import Change


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """``on``, ``paused``, ``disabled``, ``parked`` or ``over``, and why."""

    name: str
    reason: str = ""


def state_of(row: Schedule, now: dt.datetime) -> State:
    """Whether it runs, and why it does not."""
    if row.error:
        return State("parked", row.error)
    if not row.enabled:
        return State("disabled")
    if row.is_paused(now):
        until = f"until {moment(row.paused_until)}" if row.paused_until else ""
        return State("paused", ", ".join(filter(None, (row.pause_reason, until))))
    if row.next_at is None:
        return State("over", "no further due time")
    return State("on")


def when(row: Schedule) -> str:
    """Its recurrence as a sentence."""
    try:
        return explain(recurrence_from_json(row.recurrence))
    except TaskyardError:
        return "nobody can tell"


def moment(at: dt.datetime | None) -> str:
    """A time as a list shows it, in Django's current zone."""
    return date_format(timezone.localtime(at), "Y-m-d H:i:s") if at else "–"


def distance(at: dt.datetime, now: dt.datetime) -> str:
    """How far off it is: ``in 5 min``, ``3 d ago``."""
    seconds = round(abs((at - now).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * size or size == 1:
            return f"in {seconds // size} {unit}" if at > now else f"{seconds // size} {unit} ago"
    return ""


def previewed(seen: Preview, one: str, *, more: str) -> str:
    """How many an order would be for: ``1 job waits``, ``more than 10,000 jobs wait``."""
    return f"more than {seen.count:,} {more}" if seen.is_more else counted(seen.count, one, more=more)


_OBJECTS = ("recurrence", "bounds")
_PAYLOAD = ("args", "kwargs", "options")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One column that changed."""

    column: str
    before: str
    after: str


def seen(columns: Mapping[str, Any], task: str = "") -> dict[str, Any]:
    """Columns of a definition as they may be shown to whoever may see arguments: without secrets."""
    task, shown = str(columns.get("task") or task), dict(columns)
    args, kwargs = shown_arguments(task, args=columns.get("args") or (), kwargs=columns.get("kwargs") or {})
    for name, value in (("args", args), ("kwargs", kwargs), ("options", redact(columns.get("options")))):
        if name in columns:
            shown[name] = value
    return shown


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, task: str = "") -> list[Difference]:
    """What one definition says otherwise than another; both as columns. Of objects, what differs within."""
    found, shown_before, shown_after = [], seen(before, task), seen(after, task)
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name in _OBJECTS and isinstance(old, dict) and isinstance(new, dict):
            found += [Difference(f"{name} {each.column}", each.before, each.after) for each in differences(old, new)]
        else:
            found.append(Difference(name, _short(shown_before.get(name)), _short(shown_after.get(name))))
    return found


def told(actor: Actor, changes: Iterable[Difference]) -> list[Difference]:
    """Differences as they are shown to somebody: whoever may not see arguments is told that they differ."""
    if actor.sees_payload:
        return list(changes)
    return [Difference(each.column, "…", "…") if each.column in _PAYLOAD else each for each in changes]


def drifted(change: Change, task: str) -> list[Difference]:
    """What a row says otherwise than the code."""
    here = {name: stored for name, (stored, _) in change.columns.items()}
    return differences(here, {name: code for name, (_, code) in change.columns.items()}, task=task)


def _short(value: Any) -> str:
    text = " ".join(json_text(value).split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def names_of(actors: Iterable[str]) -> dict[str, str]:
    """Whoever did something, by what is stored of them: users by their names, others as they are."""
    users = get_user_model()._default_manager
    wanted = {actor for actor in actors if actor}
    # Commands and agents sign with words, which are no key.
    keys = [actor for actor in wanted if _is_key(users.model, actor)]
    found = {str(user.pk): user.get_username() for user in users.filter(pk__in=keys)} if keys else {}
    return {actor: found.get(actor, actor) for actor in wanted}


def _is_key(model: Any, text: str) -> bool:
    try:
        value = model._meta.pk.to_python(text)
    except ValidationError:
        return False
    return not isinstance(value, int) or abs(value) < 2**63
