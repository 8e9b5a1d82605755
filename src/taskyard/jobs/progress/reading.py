"""The progress of jobs as readers are shown it: frozen values, one statement for many jobs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from django.db.models import BooleanField, ExpressionWrapper, Q

from taskyard.jobs.models import Job
from taskyard.jobs.progress.canvas import FamilyProgress, family_progress
from taskyard.jobs.progress.pace import percent, rate, remaining_seconds
from taskyard.jobs.states import FINAL

_WORDS = {
    "pending": "waiting for its turn", "queued": "about to start", "running": "running",
    "waiting": "waiting for its parts", "retrying": "to be tried again", "succeeded": "done", "failed": "failed",
    "cancelled": "cancelled",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class JobProgress:
    """How far one job is, without anything of its payload."""

    id: uuid.UUID
    state: str
    attempt: int = 0
    max_attempts: int = 1
    current: float | None = None
    total: float | None = None
    message: str = ""
    #: Numbers by name: ``succeeded`` and ``failed`` items, or what a service said (``created``, ``updated``).
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    started_at: dt.datetime | None = None
    #: When its body said something last.
    updated_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    #: Not before this.
    available_at: dt.datetime | None = None
    is_asked_to_stop: bool = False
    #: Whether what is said of the progress is of an attempt before this one, which has not reported yet.
    is_of_earlier_attempt: bool = False
    #: Whether this attempt began at zero; else it goes on from a checkpoint, and its average speed says nothing.
    is_from_zero: bool = True
    #: The jobs of the same canvas or parent, where they were asked for; then the numbers are theirs.
    family: FamilyProgress | None = None
    #: Measured over the last seconds, where somebody did; else :attr:`rate` is the average of the attempt.
    speed: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in FINAL and (self.family is None or self.family.is_over)

    @property
    def percent(self) -> float | None:
        """0 to 100; 100 only for what succeeded or reports all of it."""
        return 100.0 if self.state == "succeeded" and self.is_final else percent(self.current, self.total)

    @property
    def rate(self) -> float | None:
        """Done per second, while it runs."""
        if self.is_final or self.started_at is None or self.updated_at is None or self.is_of_earlier_attempt:
            return None
        if self.speed is not None:
            return self.speed
        return rate(self.current, self.updated_at - self.started_at) if self.is_from_zero else None

    @property
    def remaining_seconds(self) -> float | None:
        """How long the rest takes at this rate."""
        return remaining_seconds(self.current, self.total, per_second=self.rate)

    @property
    def words(self) -> str:
        """The state as a person says it."""
        said = _WORDS.get(self.state, self.state)
        if self.is_final:
            return said
        if self.is_asked_to_stop:
            return f"{said}, asked to stop"
        return f"{said}, attempt {self.attempt} of {self.max_attempts}" if self.attempt > 1 else said

    @property
    def stamp(self) -> str:
        """The same for two looks that say the same; the passing of time alone changes nothing."""
        said = (self.state, self.attempt, self.current, self.total, self.message, sorted(self.counts.items()),
                self.is_asked_to_stop, self.family and (self.family.current, self.family.total))  # fmt: skip
        return hashlib.blake2b(repr(said).encode(), digest_size=8).hexdigest()


class Counted(Protocol):
    """What a batch of jobs says of itself."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def state(self) -> str: ...
    @property
    def failed(self) -> int: ...
    @property
    def current(self) -> float: ...
    @property
    def total(self) -> float | None: ...
    @property
    def started_at(self) -> dt.datetime | None: ...
    @property
    def updated_at(self) -> dt.datetime | None: ...
    @property
    def finished_at(self) -> dt.datetime | None: ...
    @property
    def cancel_requested_at(self) -> dt.datetime | None: ...


def of_batch(batch: Counted) -> JobProgress:
    """The progress of a batch, told like that of a job: one that is completed is done, and says how many failed."""
    return JobProgress(
        batch.id, "succeeded" if batch.state == "completed" else batch.state, 1, current=batch.current,
        total=batch.total, counts={"failed": batch.failed}, started_at=batch.started_at, updated_at=batch.updated_at,
        finished_at=batch.finished_at, is_asked_to_stop=batch.cancel_requested_at is not None,
    )  # fmt: skip


_COLUMNS = (
    "id", "state", "attempt", "max_attempts", "progress_current", "progress_total", "progress_message", "progress_at",
    "counts", "started_at", "finished_at", "available_at", "cancel_requested_at",
)  # fmt: skip


def progress_of(job_ids: Collection[uuid.UUID], *, tenant: str | None = None) -> dict[uuid.UUID, JobProgress]:
    """How far those of the jobs are that exist; ``tenant`` is who is looking, None an operator. One statement."""
    has_checkpoint = ExpressionWrapper(Q(checkpoint__isnull=False), output_field=BooleanField())
    rows = Job.objects.visible_to(tenant).filter(id__in=list(job_ids)).annotate(has_checkpoint=has_checkpoint)
    return {row["id"]: _progress(row) for row in rows.values(*_COLUMNS, "has_checkpoint")}


def with_family(job_id: uuid.UUID, found: JobProgress | None, *, tenant: str | None = None) -> JobProgress | None:
    """The progress of all jobs with the root ``job_id``, as its own; a group has no job of its own, only members."""
    family = family_progress(job_id, tenant=tenant)
    if family is None:
        return found
    if found is None:
        found = JobProgress(job_id, _state_of(family), attempt=1)
    state = found.state if not family.is_over or found.state not in FINAL else _state_of(family)
    state = "running" if state in FINAL and not family.is_over else state
    return dataclasses.replace(
        found, state=state, current=family.current, total=float(family.total), family=family, is_from_zero=True,
        started_at=family.started_at, updated_at=family.updated_at, is_of_earlier_attempt=False,
    )  # fmt: skip


def _state_of(family: FamilyProgress) -> str:
    if family.is_over:
        return "failed" if family.states.get("failed") else "cancelled" if family.failed else "succeeded"
    return "running" if family.started_at else "pending"


def _progress(row: Mapping[str, Any]) -> JobProgress:
    started, said, counts = row["started_at"], row["progress_at"], row["counts"] or {}
    is_earlier = bool(said and started and said < started)
    current, message = row["progress_current"], row["progress_message"]
    goes_on = row["has_checkpoint"]
    if is_earlier and row["state"] == "running" and not goes_on:
        # It begins again: what the last one reached is nothing this one has done.
        current, message, counts = 0.0 if current is not None else None, "", {}
    return JobProgress(
        id=row["id"], state=row["state"], attempt=row["attempt"], max_attempts=row["max_attempts"], current=current,
        total=row["progress_total"], message=message,
        counts={name: value for name, value in counts.items() if isinstance(value, int)},
        started_at=started, updated_at=said, finished_at=row["finished_at"], available_at=row["available_at"],
        is_asked_to_stop=row["cancel_requested_at"] is not None, is_of_earlier_attempt=is_earlier,
        is_from_zero=row["attempt"] <= 1 or not goes_on,
    )  # fmt: skip
