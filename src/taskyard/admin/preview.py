"""What a definition means: the sentence, and the next runs as the scheduler will decide them."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
from collections.abc import Iterator

from django.utils import timezone

from taskyard.errors import TaskyardError
from taskyard.monitoring.words import counted
from taskyard.schedules.definitions.define import aim, preview
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Schedule
from taskyard.schedules.recurrence import Cron, Due, explain
from taskyard.schedules.recurrence.zones import zone_named

#: Runs that are shown, and the most that are.
USUAL, MOST = 5, 50


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run to come."""

    #: Aware, in the zone of the schedule.
    at: dt.datetime
    #: Aware, in UTC.
    utc: dt.datetime
    #: ``gap`` or ``fold`` where clocks change, and what that does; empty otherwise.
    mark: str = ""
    note: str = ""

    @property
    def shown(self) -> str:
        """With what clocks are called then."""
        return f"{_to_the_second(self.at)} {self.at.tzname()}"

    @property
    def shown_utc(self) -> str:
        """The same instant for everybody."""
        return _to_the_second(self.utc)


def _to_the_second(at: dt.datetime) -> str:
    return at.strftime("%a %Y-%m-%d %H:%M:%S" if at.second else "%a %Y-%m-%d %H:%M")


@dataclasses.dataclass(frozen=True, slots=True)
class Upcoming:
    """What the panel shows; without ``words`` nothing can be told."""

    words: str = ""
    zone: str = ""
    runs: tuple[Run, ...] = ()
    #: Why there are no more.
    end: str = ""

    @property
    def has_marks(self) -> bool:
        """Whether clocks change on the way."""
        return any(run.mark for run in self.runs)


def upcoming(row: Schedule, *, count: int = USUAL, now: dt.datetime) -> Upcoming:
    """The next runs of a row as it stands, saved or not, if it were saved now."""
    row = copy.copy(row)
    try:
        definition = Definition.of(row)
    except TaskyardError:
        return Upcoming()
    aim(row, definition, now)
    offset = definition.offset(row.tenant, row.name)
    recurrence = definition.recurrence
    zone = zone_named(recurrence.timezone) if isinstance(recurrence, Cron) else timezone.get_current_timezone()
    count = max(1, min(count, MOST))
    runs = tuple(_run(due, zone, offset) for due in preview(row, count))
    end = "" if len(runs) == count else _end(row, definition, bool(runs))
    return Upcoming(explain(recurrence), str(zone), runs, end)


def _run(due: Due, zone: dt.tzinfo, offset: dt.timedelta) -> Run:
    note = "; ".join(_notes(due, zone, due.at - offset))
    return Run(due.at.astimezone(zone), due.at, due.mark, note)


def _notes(due: Due, zone: dt.tzinfo, asked: dt.datetime) -> Iterator[str]:
    wanted = due.nominal.strftime("%H:%M")
    if due.mark == "gap":
        yield f"clocks skip {wanted} that day: it runs at {asked.astimezone(zone):%H:%M}"
    if due.mark == "fold":
        yield f"clocks show {wanted} twice that day: the {'second' if due.nominal.fold else 'first'} time"


def _end(row: Schedule, definition: Definition, are_some: bool) -> str:
    bounds = definition.bounds
    if bounds.max_runs is not None and row.runs >= bounds.max_runs:
        return f"It has run {counted(row.runs, 'time', more='times')}, and is to run at most {bounds.max_runs:,}."
    if are_some:
        return "No further one."
    return "None: its calendars leave out all that can be foreseen." if bounds.calendars else "None: that time is over."
