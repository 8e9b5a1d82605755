"""What somebody said of a schedule, as a value: checked as a whole, compared, and written to a row."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskyard.errors import InvalidSchedule
from taskyard.schedules.decisions import MOST_LAST, CatchUp, Overlap, Rules
from taskyard.schedules.models import Schedule
from taskyard.schedules.recurrence import Bounds, Due, Recurrence, bounds_from_json, offset_in, recurrence_from_json

#: What may stand in ``options``: headers of the message, where it goes if no queue says so, when its job expires
#: (seconds from when it is enqueued, or an ISO 8601 time), limits in seconds.
OPTIONS = ("headers", "exchange", "routing_key", "expires", "time_limit", "soft_time_limit", "ignore_result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What runs, when, for whom, and what happens when it cannot."""

    #: Task name.
    task: str
    recurrence: Recurrence
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: Logical queue name; empty: as the task says.
    queue: str = ""
    #: -100 to 100; None: as the task says.
    priority: int | None = None
    #: For tasks of Celery, what :data:`OPTIONS` names; a task with options is called as Celery calls it.
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: ``"each"``: a job for each tenant that is ready; names: for each of these; None: one job.
    tenants: str | tuple[str, ...] | None = None
    #: The jobs of several tenants begin within this time, each always at its own place.
    spread: dt.timedelta = dt.timedelta(0)
    #: From when to when, how often at most, on which days not; with ``window`` its due times come later by a part of
    #: that, always the same for one schedule.
    bounds: Bounds = dataclasses.field(default_factory=Bounds)
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.ONE
    catch_up_count: int = 1
    catch_up_window: dt.timedelta | None = None
    pause_after_failures: int | None = None
    #: Label and primary key of a row of the project's own that it is about.
    subject: tuple[str, str] = ("", "")
    description: str = ""

    @property
    def rules(self) -> Rules:
        """What it says of late due times."""
        return Rules(self.catch_up, self.catch_up_count, self.catch_up_window)

    def offset(self, tenant: str, name: str) -> dt.timedelta:
        """By how much its due times come later."""
        return offset_in(self.bounds.window, f"{tenant}\0{name}")

    def dues(self, after: dt.datetime, until: dt.datetime, *, limit: int) -> list[Due]:
        """Its due times after one instant, up to another; excluded ones are among them."""
        within = itertools.takewhile(lambda due: due.at <= until, self.bounds.iter_from(self.recurrence, after))
        return list(itertools.islice(within, limit))

    def next_due(self, after: dt.datetime) -> Due | None:
        """The first due time after an instant, excluded ones included: they are decided as well."""
        return next(self.bounds.iter_from(self.recurrence, after), None)

    def as_columns(self) -> dict[str, Any]:
        """Values of the row's columns; all of them are JSON."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        subject_type, subject_id = columns.pop("subject")
        return columns | {
            "recurrence": self.recurrence.to_json(), "bounds": self.bounds.to_json(),
            "args": list(self.args), "kwargs": dict(self.kwargs), "options": dict(self.options),
            "tenants": list(self.tenants) if isinstance(self.tenants, tuple) else self.tenants,
            "spread": self.spread.total_seconds(), "overlap": self.overlap.value, "catch_up": self.catch_up.value,
            "catch_up_window": None if self.catch_up_window is None else self.catch_up_window.total_seconds(),
            "subject_type": subject_type, "subject_id": subject_id,
        }  # fmt: skip

    @classmethod
    def of(cls, row: Schedule) -> Definition:
        """What a row says; raises :class:`~taskyard.errors.TaskyardError` if nobody can make anything of it."""
        window = row.catch_up_window
        try:
            return cls(
                task=row.task, recurrence=recurrence_from_json(row.recurrence), args=row.args, kwargs=row.kwargs,
                queue=row.queue, priority=row.priority, options=row.options,
                tenants=tuple(row.tenants) if isinstance(row.tenants, list) else row.tenants,
                spread=dt.timedelta(seconds=row.spread), bounds=bounds_from_json(row.bounds),
                overlap=Overlap(row.overlap), catch_up=CatchUp(row.catch_up),
                catch_up_count=row.catch_up_count,
                catch_up_window=None if window is None else dt.timedelta(seconds=window),
                pause_after_failures=row.pause_after_failures, subject=(row.subject_type, row.subject_id),
                description=row.description,
            )  # fmt: skip
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidSchedule(row.name, [str(error)]) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule of the code: its definition, and what only targets ask for."""

    name: str
    definition: Definition
    #: Names of the targets it is for; None: all of them.
    targets: tuple[str, ...] | None = None
    #: Where a clock that calls by HTTP finds it, for example ``/tasks/purge-expired``; empty: the target's default.
    http_path: str = ""

    def is_for(self, target: str) -> bool:
        """Whether that target is to have it."""
        return self.targets is None or target in self.targets


def checked(name: str, said: Mapping[str, Any]) -> Definition:
    """A definition of what was said; raises :class:`~taskyard.errors.InvalidSchedule` naming everything wrong."""
    known = {field.name for field in dataclasses.fields(Definition)}
    values, problems = dict(said), []
    problems += [(key, f"{key!r} is not something a schedule has.") for key in sorted(values.keys() - known)]
    for key, kind, default in (("overlap", Overlap, "skip"), ("catch_up", CatchUp, "one")):
        try:
            values[key] = kind(values.get(key, default))
        except ValueError:
            choices = ", ".join(member.value for member in kind)
            problems.append((key, f"{key} must be one of {choices}; it is {values[key]!r}."))
    tenants = values.get("tenants")
    if tenants is not None and not isinstance(tenants, str):
        values["tenants"] = tuple(tenants)
    problems += _problems(values)
    if problems:
        raise InvalidSchedule(name, [text for _, text in problems], fields=[field for field, _ in problems])
    return Definition(**values)


def _problems(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong, each with the word it is about."""
    if isinstance(said.get("tenants"), str) and said["tenants"] != "each":
        yield "tenants", f"tenants must be 'each', a list of names, or None; it is {said['tenants']!r}."
    if said.get("tenants") is not None and said.get("args"):
        yield "args", "a schedule for several tenants takes kwargs, not args."
    if said.get("tenants") is not None and said["overlap"] not in ("allow", "skip"):
        yield "overlap", f"a schedule for several tenants has overlap allow or skip, not {said['overlap']}."
    for key in ("spread", "catch_up_window"):
        value = said.get(key)
        if value is not None and not (isinstance(value, dt.timedelta) and value >= dt.timedelta(0)):
            yield key, f"{key} must be a timedelta that is not negative; it is {value!r}."
    for key, least, most in (("catch_up_count", 1, MOST_LAST), ("pause_after_failures", 1, 100)):
        value = said.get(key)
        if value is not None and not (isinstance(value, int) and least <= value <= most):
            yield key, f"{key} must be a whole number from {least} to {most}; it is {value!r}."
    if (priority := said.get("priority")) is not None and not (isinstance(priority, int) and -100 <= priority <= 100):
        yield "priority", f"priority must be between -100 and 100; it is {priority!r}."
    if not isinstance(said.get("recurrence"), Recurrence):
        yield "recurrence", f"recurrence must be a Cron, an Every or an At; it is {said.get('recurrence')!r}."
    if not isinstance(said.get("bounds", Bounds()), Bounds):
        yield "bounds", f"bounds must be Bounds(...); it is {said['bounds']!r}."
    options = said.get("options", {})
    if not isinstance(options, Mapping) or not set(options) <= set(OPTIONS):
        yield "options", f"options must be a dict with some of {', '.join(OPTIONS)}; it is {options!r}."
    elif not isinstance(options.get("headers", {}), Mapping):
        yield "options", f"options['headers'] must be a dict; it is {options['headers']!r}."
    for key, value in (("args", list(said.get("args", ()))), ("kwargs", said.get("kwargs", {})), ("options", options)):
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            yield key, f"{key} must be JSON: {error}."
