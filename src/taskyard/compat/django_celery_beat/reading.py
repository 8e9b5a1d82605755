"""What a ``PeriodicTask`` says, in our words."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from taskyard.celery import get_app
from taskyard.celery.beat.entries import LIKE_BEAT, zone_name
from taskyard.celery.messages import ALL_TENANTS
from taskyard.errors import InvalidSchedule, TaskyardError
from taskyard.schedules.definitions.definition import Definition, checked
from taskyard.schedules.recurrence import At, Bounds, Recurrence
from taskyard.schedules.sources.beat import every, times_of_crontab

SUBJECT = "django_celery_beat.periodictask"
_MICROSECOND = dt.timedelta(microseconds=1)
#: How far back one look goes for the last due time that was missed; the longest that Beat's crontabs can be apart.
_LOOKS = tuple(dt.timedelta(minutes=minutes) for minutes in (1, 60, 24 * 60, 31 * 24 * 60, 366 * 24 * 60))
_MOST = 1_500


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """A row of theirs as a definition, or why it is none."""

    definition: Definition | None
    #: Due times later than this are decided, where nothing was before.
    since: dt.datetime
    problem: str = ""


def read(task: Any, *, now: dt.datetime, before: Any = None) -> Said:
    """What a ``PeriodicTask`` says; ``before`` is the JSON of the recurrence it was last read as.

    An interval keeps the instant it was counted from for as long as it stays the same.
    """
    since = _aware(task.last_run_at or task.date_changed) or now
    try:
        when, bounds = _times(task, since, now=now, before=before)
        definition = checked(task.name, _call(task) | {"recurrence": when, "bounds": bounds})
    except (TaskyardError, ImproperlyConfigured, TypeError, ValueError) as error:
        problem = "; ".join(error.problems) if isinstance(error, InvalidSchedule) else str(error)
        return Said(None, since, problem or type(error).__name__)
    return Said(definition, _since(definition, since, now=now))


def _call(task: Any) -> dict[str, Any]:
    options: dict[str, Any] = {name: getattr(task, name) for name in ("exchange", "routing_key")}
    # As it names itself to the task: `self.request.headers`, and django-celery-results.
    headers = _json(task, "headers", {})
    # As tenant-schemas-celery says it.
    tenants = "each" if headers.pop(ALL_TENANTS, False) else None
    options["headers"] = {**headers, "periodic_task_name": task.name}
    expires = _aware(task.expires)
    options["expires"] = expires.isoformat() if expires else task.expire_seconds
    return {
        "task": task.task, "args": _json(task, "args", []), "kwargs": _json(task, "kwargs", {}),
        "queue": task.queue or "", "priority": None if task.priority is None else min(task.priority, 100),
        "options": {name: value for name, value in options.items() if value not in (None, "")},
        "tenants": tenants, "description": task.description, "subject": (SUBJECT, str(task.pk)), **LIKE_BEAT,
    }  # fmt: skip


def _json(task: Any, field: str, usual: Any) -> Any:
    text = getattr(task, field)
    try:
        value = json.loads(text) if text else usual
    except ValueError as error:
        raise ValueError(f"its {field} are no JSON: {error}") from None
    if not isinstance(value, type(usual)):
        raise TypeError(f"its {field} must be a JSON {'list' if usual == [] else 'object'}; they are {text:.80}")
    return value


def _times(task: Any, since: dt.datetime, *, now: dt.datetime, before: Any) -> tuple[Recurrence, Bounds]:
    end, start = _aware(task.expires), _aware(task.start_time)
    limits: Mapping[str, Any] = {
        "start": start, "end": end and end - _MICROSECOND, "max_runs": 1 if task.one_off else None,
    }  # fmt: skip
    if task.crontab_id is not None:
        cron, calendars = times_of_crontab(task.crontab.schedule, _zone_of(task.crontab))
        return cron, Bounds(**limits, calendars=calendars)
    if task.interval_id is not None:
        return _interval(task.interval, start or since, None if start else before), Bounds(**limits)
    if task.clocked_id is not None:
        asked = _aware(task.clocked.clocked_time) or now
        # Beat runs at once what is set to a time that has passed.
        return At(max(asked, since)), Bounds(**limits)
    if task.solar_id is not None:
        return At(_next_solar(task.solar, since, now=now, before=before)), Bounds(**limits)
    raise ValueError("it has no interval, crontab, solar or clocked schedule")


def _zone_of(crontab: Any) -> str:
    if getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True):
        return zone_name(crontab.timezone)
    return zone_name(get_app().timezone)


def _interval(interval: Any, since: dt.datetime, before: Any) -> Recurrence:
    length = dt.timedelta(**{interval.period: interval.every})
    counted = every(length, since)
    stored: Mapping[str, Any] = before or {}
    if stored.get("kind") == "every" and stored.get("seconds") == counted.to_json()["seconds"]:
        return every(length, dt.datetime.fromtimestamp(stored["phase_seconds"], dt.UTC))
    return counted


def _next_solar(solar: Any, since: dt.datetime, *, now: dt.datetime, before: Any) -> dt.datetime:
    """The next time the sun does that; once known it stays until it was run."""
    stored: Mapping[str, Any] = before or {}
    if stored.get("kind") == "at" and (known := dt.datetime.fromisoformat(stored["at"])) > since:
        return known
    schedule = solar.schedule
    schedule.nowfun = lambda: now
    # On the minute behind it: what the sun's place is worked out from moves by seconds with the time of asking.
    return (now + schedule.remaining_estimate(now)).replace(second=0, microsecond=0) + dt.timedelta(minutes=1)


def _since(definition: Definition, since: dt.datetime, *, now: dt.datetime) -> dt.datetime:
    """Where deciding begins: at the last due time that was missed, and not at each of a year's."""
    if isinstance(definition.recurrence, At):
        return definition.recurrence.at - _MICROSECOND
    for span in _LOOKS:
        after = max(since, now - span)
        missed = definition.dues(after, now, limit=_MOST)
        if missed:
            return missed[-1].at - _MICROSECOND
        if after == since:
            break
    return now


def _aware(moment: dt.datetime | None) -> dt.datetime | None:
    if moment is None or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment)
