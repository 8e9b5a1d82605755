"""django-cron's classes on Taskyard's engine: ``from taskyard.compat.django_cron import CronJobBase, Schedule``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from taskyard.errors import TaskyardError
from taskyard.schedules.recurrence import Bounds, Calendar, Cron
from taskyard.schedules.recurrence.calendars import WEEKDAYS
from taskyard.schedules.sources.beat import every
from taskyard.schedules.sources.imports import Found, Source
from taskyard.tasks.task import task

SOURCE = Source("import:django-cron")
_DAY_MINUTES = 24 * 60


class Schedule:
    """When a class runs, in django-cron's words; ``schedules import django-cron`` reads them."""

    def __init__(
        self, run_every_mins: int | None = None, run_at_times: Sequence[str] | None = None, *args: Any, **kwargs: Any
    ) -> None:
        names = ("retry_after_failure_mins", "run_weekly_on_days", "run_monthly_on_days", "run_tolerance_seconds")
        self.run_every_mins, self.run_at_times = run_every_mins, list(run_at_times or ())
        said = {**dict(zip(names, args, strict=False)), **kwargs}
        if unknown := said.keys() - set(names):
            raise TypeError(f"Schedule() has no argument {sorted(unknown)[0]!r}; it has {', '.join(names)}")
        self.retry_after_failure_mins: int | None = said.get("retry_after_failure_mins")
        self.run_weekly_on_days: Sequence[int] | None = said.get("run_weekly_on_days")
        self.run_monthly_on_days: Sequence[int] | None = said.get("run_monthly_on_days")
        self.run_tolerance_seconds: int = said.get("run_tolerance_seconds", 0)


class CronJobBase:
    """Something that runs by the clock: ``code``, ``schedule`` and ``do()``."""

    code: str
    schedule: Any

    def do(self) -> Any:
        """The work."""
        raise NotImplementedError


@task(name="taskyard.run_cron_class")
def run_cron_class(path: str) -> str:
    """Run ``do()`` of one of ``CRON_CLASSES``, and of nothing else: who can enqueue cannot run anything."""
    if path not in getattr(settings, "CRON_CLASSES", ()):
        raise TaskyardError(f"{path!r} is not one of CRON_CLASSES.")
    said = import_string(path)().do()
    return "" if said is None else str(said)


def found() -> Iterator[Found]:
    """The classes of ``CRON_CLASSES``, as schedules; several where one cannot say it."""
    for path in getattr(settings, "CRON_CLASSES", ()):
        try:
            yield from _found(path, import_string(path))
        except (ImportError, AttributeError, TaskyardError, TypeError, ValueError) as error:
            yield Found(name=path, problem=str(error))


def _found(path: str, job: Any) -> list[Found]:
    code, when = job.code, job.schedule
    is_parallel = getattr(job, "ALLOW_PARALLEL_RUNS", False)
    common: dict[str, Any] = {
        "task": run_cron_class.name, "kwargs": {"path": path}, "overlap": "allow" if is_parallel else "skip",
        "catch_up": "one",
    }  # fmt: skip
    times = _by_minute(when.run_at_times or ())
    parts: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    if when.run_every_mins is not None:
        parts.append((code, _often(when), ("counted from midnight UTC, and not from the last run that succeeded",)))
    for minute, hours in times.items():
        at = f"{code}@{hours[0]:02}:{minute:02}" if parts or len(times) > 1 else code
        parts.append((at, _daily(when, minute, hours), ()))
    if not parts:
        raise ValueError("it has neither run_every_mins nor run_at_times, and never runs")
    again = ("it is not retried by itself: after a failure it runs at its next time",)
    notes = again if when.retry_after_failure_mins else ()
    return [Found(name=name, said={**common, **said}, notes=(*own, *notes)) for name, said, own in parts]


def _by_minute(times: Sequence[str]) -> Mapping[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for text in times:
        at = dt.time.fromisoformat(text.strip().zfill(5))
        grouped.setdefault(at.minute, []).append(at.hour)
    return {minute: sorted(set(hours)) for minute, hours in grouped.items()}


def _daily(when: Any, minute: int, hours: Sequence[int]) -> dict[str, Any]:
    return _cron(when, f"{minute} {','.join(map(str, hours))}")


def _often(when: Any) -> dict[str, Any]:
    minutes = when.run_every_mins
    if when.run_weekly_on_days is None and when.run_monthly_on_days is None:
        return {"recurrence": every(dt.timedelta(minutes=minutes))}
    if minutes < 60 and 60 % minutes == 0:
        return _cron(when, f"*/{minutes} *" if minutes > 1 else "* *")
    if minutes % 60 == 0 and _DAY_MINUTES % minutes == 0:
        return _cron(when, f"0 */{minutes // 60}" if minutes > 60 else "0 *")
    raise ValueError(
        f"every {minutes} minutes on some days cannot be said: no number of such turns makes an hour or day"
    )


def _cron(when: Any, of_day: str) -> dict[str, Any]:
    weekly, monthly = when.run_weekly_on_days, when.run_monthly_on_days
    # Monday is 0 there, and 1 here.
    weekdays = "*" if weekly is None else ",".join(str((day + 1) % 7) for day in sorted(weekly))
    days = "*" if monthly is None else ",".join(map(str, sorted(monthly)))
    zone = settings.TIME_ZONE or "UTC"
    if weekly is None or monthly is None:
        return {"recurrence": Cron(f"{of_day} {days} * {weekdays}", timezone=zone)}
    # Both must match there; a cron takes either.
    free = [name for number, name in enumerate(WEEKDAYS) if number not in weekly]
    return {
        "recurrence": Cron(f"{of_day} {days} * *", timezone=zone), "bounds": Bounds(calendars=[Calendar(weekdays=free)])
    }  # fmt: skip
