"""How much of a canvas there is: its jobs, and the steps that are not jobs yet."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db.models import Case, Count, F, Max, Min, Sum, Value, When
from django.db.models.functions import Least

from taskyard.jobs.models import Job
from taskyard.jobs.progress.pace import percent
from taskyard.jobs.states import FINAL, State

#: Messages that are read for the steps they carry; members of one group carry the same ones.
_READ = 50


@dataclasses.dataclass(frozen=True, slots=True)
class FamilyProgress:
    """Jobs of one root: a chain, a group, a chord, or what a job enqueued while it ran."""

    #: Jobs that have ended, with the parts of those that run and say how far they are.
    current: float
    #: Jobs there are, and steps of the canvas that will be jobs.
    total: int
    #: By state; steps that are not jobs yet are not in it.
    states: Mapping[str, int]
    started_at: dt.datetime | None
    updated_at: dt.datetime | None

    @property
    def ended(self) -> int:
        """Jobs that reached a final state."""
        return sum(number for state, number in self.states.items() if state in FINAL)

    @property
    def failed(self) -> int:
        """Jobs that failed or were cancelled."""
        return self.states.get("failed", 0) + self.states.get("cancelled", 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return self.ended >= self.total

    @property
    def percent(self) -> float | None:
        """0 to 100; 100 once nothing is left."""
        return percent(self.current, self.total)


def family_progress(root: uuid.UUID, *, tenant: str | None = None) -> FamilyProgress | None:
    """How far the jobs of ``root`` are, or None where there are none. One statement, and one for what is to come.

    A tenant who is looking sees jobs of its own alone. Steps to come are told from up to 50 messages, so of a group
    of many different chains the total may be too low at first; it never is for one chain, group or chord.
    """
    jobs = Job.objects.visible_to(tenant).canvas(root)
    part = Case(
        When(state=State.RUNNING.value, progress_total__gt=0, then=Least(F("progress_current") / F("progress_total"),
                                                                         Value(1.0)))
    )  # fmt: skip
    rows = list(
        jobs.values("state").annotate(
            n=Count("id"), parts=Sum(part), first=Min("started_at"), ended=Max("finished_at"), heard=Max("progress_at")
        )
    )
    if not rows:
        return None
    states = {row["state"]: row["n"] for row in rows}
    ended = sum(n for state, n in states.items() if state in FINAL)
    parts = sum(row["parts"] or 0.0 for row in rows)
    unfinished = jobs.active().filter(message__isnull=False)
    to_come = steps_to_come(unfinished.values_list("message", flat=True)[:_READ]) if sum(states.values()) > ended else 0
    return FamilyProgress(
        current=round(ended + parts, 3), total=sum(states.values()) + to_come, states=states,
        started_at=min((row["first"] for row in rows if row["first"]), default=None),
        updated_at=max((row[name] for row in rows for name in ("ended", "heard") if row[name]), default=None),
    )  # fmt: skip


def steps_to_come(messages: Iterable[Mapping[str, Any]]) -> int:
    """Tasks that these messages of jobs will bring and that are no jobs yet: the rest of a chain, a chord's body."""
    found, chords = 0, set()
    for message in messages:
        embed, headers = message.get("embed") or {}, message.get("headers") or {}
        found += sum(_tasks(step) for step in embed.get("chain") or ())
        body, group = embed.get("chord"), headers.get("group")
        if body and group not in chords:
            chords.add(group)
            found += _tasks(body)
    return found


def _tasks(signature: Any) -> int:
    if not isinstance(signature, Mapping):
        return 0
    inner = list(_inner(signature))
    after = (signature.get("options") or {}).get("chain") or ()
    return (sum(map(_tasks, inner)) if inner else 1) + sum(map(_tasks, after))


def _inner(signature: Mapping[str, Any]) -> Iterator[Any]:
    kwargs = signature.get("kwargs") or {}
    kind = signature.get("subtask_type")
    if kind in ("chain", "group"):
        yield from _listed(kwargs.get("tasks"))
    elif kind == "chord":
        header = kwargs.get("header")
        yield from _listed(header) if isinstance(header, Sequence) else (header,)
        yield kwargs.get("body")


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
