"""Which jobs a verb is done to, one batch after the other, without holding all of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db.models import Q

from taskyard.jobs import queries
from taskyard.jobs.models import JobQuerySet
from taskyard.jobs.queries import JobFilter
from taskyard.jobs.states import FINAL, LANE_DUE, LANE_LATER, LANE_OUT

#: Jobs that have not ended are gone through in the order in which they get on, so that none slips by; those that wait
#: for a canvas stand in no lane.
_LANES = (LANE_LATER, LANE_DUE, LANE_OUT, None)


class Place(NamedTuple):
    """How far a selection was gone through: up to this job."""

    #: When it ended, or failed; None where jobs that have not ended are gone through.
    ended_at: dt.datetime | None
    id: uuid.UUID
    #: A place in ``_LANES``.
    lane: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Jobs that match a filter, in one of some states, at a time: what comes to match later is not meant."""

    wanted: JobFilter
    #: What the verb acts on.
    states: tuple[str, ...]
    #: When it was made.
    at: dt.datetime

    @property
    def rows(self) -> JobQuerySet:
        """All of them, in no order."""
        jobs = queries.matching(self.wanted).order_by().filter(state__in=self.states, created_at__lte=self.at)
        # A job that was brought back and ended again has a new end, and is not met a second time.
        return jobs.filter(**{f"{self.order[0]}__lte": self.at}) if self.is_final else jobs

    @property
    def order(self) -> tuple[str, str]:
        """Columns that jobs which have ended are gone through by, from the last one back."""
        return self.wanted.order if self.wanted.group else ("finished_at", "id")

    @property
    def is_final(self) -> bool:
        """Whether it is about jobs that have ended."""
        return set(self.states) <= FINAL

    def count(self, most: int) -> int:
        """How many there are, at most so many."""
        return self.rows[:most].count()

    def batch(self, after: Place | None, size: int) -> list[Place]:
        """The next ones; empty at the end."""
        if self.is_final:
            return self._ended(after, size)
        rows = self.rows
        for lane in range(after.lane if after else 0, len(_LANES)):
            chosen = rows.filter(lane=_LANES[lane])
            if after is not None and after.lane == lane:
                chosen = chosen.filter(id__gt=after.id)
            if found := list(chosen.order_by("id").values_list("id", flat=True)[:size]):
                return [Place(None, job_id, lane) for job_id in found]
        return []

    def _ended(self, after: Place | None, size: int) -> list[Place]:
        rows, (moment, key) = self.rows, self.order
        if after is not None:
            same = Q(**{moment: after.ended_at, f"{key}__lt": after.id})
            earlier = Q(**{f"{moment}__lt": after.ended_at})
            # The last condition says no more than the first two: it is the one that an index begins at.
            rows = rows.filter(earlier | same).filter(**{f"{moment}__lte": after.ended_at})
        found = rows.order_by(f"-{moment}", f"-{key}").values_list(moment, key)[:size]
        return [Place(*row) for row in found]

    def to_json(self) -> dict[str, Any]:
        """As an audit entry keeps it."""
        said = {name: value for name, value in dataclasses.asdict(self.wanted).items() if value not in ((), "", None)}
        if self.wanted.since is not None:
            said["since"] = self.wanted.since.isoformat()
        if self.wanted.batch is not None:
            said["batch"] = str(self.wanted.batch)
        if self.wanted.tenant is not None:
            said["tenant"] = self.wanted.tenant
        return {"jobs": said, "states": list(self.states), "at": self.at.isoformat()}


def selection_from_json(stored: Mapping[str, Any]) -> Selection:
    """What :meth:`Selection.to_json` made."""
    said: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored["jobs"].items()
    }
    if "since" in said:
        said["since"] = dt.datetime.fromisoformat(said["since"])
    if "batch" in said:
        said["batch"] = uuid.UUID(said["batch"])
    at = dt.datetime.fromisoformat(stored["at"])
    return Selection(wanted=JobFilter(**said), states=tuple(stored["states"]), at=at)


def narrowed(states: Sequence[str], wanted: JobFilter) -> tuple[str, ...]:
    """Those of the states that a verb acts on that a filter asks for."""
    return tuple(state for state in states if not wanted.states or state in wanted.states)
