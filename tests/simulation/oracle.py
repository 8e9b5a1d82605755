"""What must be true, kept outside of the database and checked at every committed change.

The oracle's record of a job is made of what the simulated programs meant to do and of what committed. It never reads
the job table until the end, when the two are compared.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from taskyard.execution.outcome import Cancelled, Failed, Outcome, RetryAt, Snoozed, Succeeded
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.states import FINAL
from tests.simulation.jobs import Spec


class Violated(BaseException):
    """A promise is broken. Not an ``Exception``: no code under test may swallow it."""


@dataclasses.dataclass
class Intent:
    """What the simulated program is about to do; every change of a row must be meant by somebody."""

    kind: str
    job: uuid.UUID | None = None
    token: int | None = None
    outcome: Outcome | None = None
    by: str = ""
    #: Jobs about to be written: how each is to behave.
    births: list[Spec] = dataclasses.field(default_factory=list)
    #: Whether the state changed, and that committed.
    has_moved: bool = False


@dataclasses.dataclass
class Record:
    """What the oracle knows of one job."""

    id: uuid.UUID
    spec: Spec
    due_at: float
    lock: str | None
    allowed: int
    state: str = "pending"
    token: int | None = None
    worker: uuid.UUID | None = None
    starts: int = 0
    spent: int = 0
    crashes: int = 0
    #: Attempts that ended otherwise than in success: each leaves a row.
    troubles: int = 0
    is_cancel_asked: bool = False
    checkpoint: str | None = None
    ended_at: float | None = None
    is_pruned: bool = False
    fenced: set[int] = dataclasses.field(default_factory=set)
    #: Tokens of bodies that are running, dead ones excluded.
    bodies: set[int] = dataclasses.field(default_factory=set)


#: Who may move a row from one state to another: the table of docs/architecture.md.
_MOVES: dict[tuple[str, str], set[str]] = {
    ("pending", "queued"): {"feeder"},
    ("retrying", "queued"): {"feeder"},
    ("queued", "pending"): {"feeder", "settler"},
    ("queued", "retrying"): {"feeder"},
    ("queued", "succeeded"): {"feeder"},
    ("queued", "running"): {"claim"},
    ("running", "succeeded"): {"settle"},
    ("running", "retrying"): {"settle"},
    ("running", "pending"): {"settle"},
    ("running", "failed"): {"settle"},
    ("running", "cancelled"): {"settle"},
    ("pending", "cancelled"): {"cancel", "settle"},
    ("queued", "cancelled"): {"cancel"},
    ("retrying", "cancelled"): {"cancel", "settle"},
    ("failed", "pending"): {"retry"},
    ("cancelled", "pending"): {"retry"},
    ("failed", "cancelled"): {"discard"},
}


class Oracle:
    """Every rule is one method that raises :class:`Violated`."""

    def __init__(self, clock: Callable[[], float], *, poison_after: int, worker_timeout: float, slack: float) -> None:
        self.clock = clock
        self.poison_after, self.worker_timeout, self.slack = poison_after, worker_timeout, slack
        self.records: dict[uuid.UUID, Record] = {}
        self.holders: dict[str, uuid.UUID] = {}
        self.unfinished: set[uuid.UUID] = set()
        #: When each worker's sign of life last committed.
        self.beats: dict[uuid.UUID, float] = {}
        self.handed_over: set[uuid.UUID] = set()
        self.overlaps = 0

    # -- what committed ------------------------------------------------------------------------------------------------

    def committed(self, change: tuple[Any, ...], intent: Intent | None) -> None:
        """One change of a row, in the order of the commits."""
        kind, row = change[0], uuid.UUID(change[1])
        if kind == "beat":
            self.beats[row] = self.clock()
        elif kind == "born":
            self._born(row, change[2], change[3], change[5], intent)
        elif kind == "saved":
            self._saved(self._known(row), change[2], change[3], change[4])
        elif kind == "gone":
            self._gone(row, change[2], intent)
        else:
            self._moved(self._known(row), change, intent)

    def transaction_done(self, intent: Intent) -> None:
        """All changes of a transaction were told."""
        if intent.has_moved and isinstance(intent.outcome, Succeeded):
            missing = [spec for spec in intent.births if not self._is_held(spec)]
            if missing:
                raise Violated(f"job {intent.job} succeeded, but {len(missing)} of its links were not written")

    def promised(self, row: uuid.UUID) -> None:
        """A transaction committed in which an enqueue returned this job."""
        if row not in self.records:
            raise Violated(f"lost: job {row} was enqueued, its transaction committed, and it was not written")

    def _born(self, row: uuid.UUID, state: str, lock: str | None, kwargs: str, intent: Intent | None) -> None:
        spec = next((one for one in intent.births if one.kwargs == kwargs), None) if intent else None
        if spec is None or intent is None or row in self.records:
            raise Violated(f"phantom: job {row} was written by nobody who meant it ({intent})")
        intent.births.remove(spec)
        if lock is not None and lock in self.holders:
            raise Violated(f"job {row} holds the key of {self.holders[lock]}, which has not ended")
        if (lock is not None) != spec.is_unique:
            raise Violated(f"job {row} of {spec.task.name} has the lock {lock}")
        allowed = spec.task.options.retry.max_retries + 1
        self.records[row] = Record(row, spec, spec.due_at, lock, allowed)
        self.unfinished.add(row)
        self._hold(self.records[row])

    def _saved(self, record: Record, checkpoint: str, token: int, state: str) -> None:
        # A body saves its own token.
        if state != "running" or checkpoint != str(token):
            raise Violated(f"job {record.id}, {state} under {token}, was given the checkpoint of {checkpoint}")
        record.checkpoint = checkpoint

    def _gone(self, row: uuid.UUID, state: str, intent: Intent | None) -> None:
        record = self._known(row)
        if intent is None or intent.kind != "pruner" or state not in FINAL:
            raise Violated(f"job {row} was deleted in state {state} ({intent})")
        if record.state != state or record.is_pruned:
            raise Violated(f"job {row} was deleted as {state}, but it is {record.state}")
        record.is_pruned = True

    def _moved(self, record: Record, change: tuple[Any, ...], intent: Intent | None) -> None:
        _, _, old, new, old_token, new_token, old_attempt, attempt, lock, asked, _ = change
        if record.state != old or record.is_pruned:
            raise Violated(f"job {record.id} leaves {old}, but it is {record.state}")
        if attempt != old_attempt + (new == "running" and old != new):
            raise Violated(f"job {record.id}: attempt {old_attempt} became {attempt} on the way to {new}")
        if old == new:
            self._changed_in_place(record, old_token, new_token, asked, intent)
        else:
            if intent is None or intent.kind not in _MOVES.get((old, new), ()):
                raise Violated(f"job {record.id} went from {old} to {new}, meant as {intent}")
            intent.has_moved = True
            record.state = new
            self._went(record, old, new, change, intent)
        if (lock is not None) != (self.holders.get(record.lock or "") == record.id):
            held = "holds" if lock is not None else "does not hold"
            raise Violated(f"job {record.id}, {new}, {held} its unique key")

    def _changed_in_place(
        self, record: Record, old_token: int | None, new_token: int | None, asked: Any, intent: Intent | None
    ) -> None:
        if new_token != old_token:
            raise Violated(f"job {record.id} was claimed while it was {record.state}")
        if intent is not None and intent.kind == "cancel" and asked is not None:
            record.is_cancel_asked = True

    def _went(self, record: Record, old: str, new: str, change: tuple[Any, ...], intent: Intent) -> None:
        if new == "running":
            self._started(record, change, intent)
        elif old == "running":
            self._ended(record, new, change[4], intent)
        elif intent.kind == "retry":
            record.allowed, record.crashes, record.is_cancel_asked = record.allowed + 1, 0, False
            record.due_at = self.clock()
            self.unfinished.add(record.id)
            self._hold(record)
        elif new == "succeeded" and (not record.spec.is_outside or record.id not in self.handed_over):
            raise Violated(f"job {record.id} counts as handed over, but the broker never had it")
        elif old == "retrying" and new == "cancelled" and intent.kind == "settle" and not record.is_cancel_asked:
            raise Violated(f"job {record.id} was cancelled by its settle, but nobody asked")
        if new in FINAL:
            self._final(record)

    def _started(self, record: Record, change: tuple[Any, ...], intent: Intent) -> None:
        record.starts += 1
        record.token, record.worker = change[5], uuid.UUID(change[10])
        if change[7] != record.starts:
            raise Violated(f"job {record.id}: start {record.starts} is counted as attempt {change[7]}")
        if intent.job != record.id or intent.token != record.token:
            raise Violated(f"job {record.id} was claimed with a token that is not its starter's")
        if record.is_cancel_asked:
            raise Violated(f"job {record.id} was cancelled, and started all the same")
        if self.clock() < record.due_at - self.slack:
            raise Violated(f"job {record.id} started {record.due_at - self.clock():.3f} s before its time")
        if record.spec.task.options.unique_until == "start":
            self._release(record)

    def _ended(self, record: Record, new: str, token: int, intent: Intent) -> None:
        if intent.token != token or intent.job != record.id:
            raise Violated(f"job {record.id}: the attempt {intent.token} ended the attempt {token} of another")
        record.fenced.add(token)
        record.token = None
        outcome = intent.outcome
        if not isinstance(outcome, Succeeded):
            record.troubles += 1
        if isinstance(outcome, RetryAt):
            self._to_be_retried(record, outcome, intent)
        elif isinstance(outcome, Snoozed):
            record.due_at = outcome.until.timestamp()
        elif isinstance(outcome, Failed):
            self._failed(record, outcome, intent)
        elif isinstance(outcome, Succeeded):
            record.crashes = 0
        elif isinstance(outcome, Cancelled):
            record.spent += 1
        else:
            raise Violated(f"job {record.id} ended as {outcome}")

    def _to_be_retried(self, record: Record, outcome: RetryAt, intent: Intent) -> None:
        record.due_at = outcome.at.timestamp()
        if intent.by == "child-lost":
            record.crashes += 1
            if record.crashes >= self.poison_after:
                raise Violated(f"job {record.id} killed {record.crashes} children in a row and is tried again")
        elif outcome.counts:
            record.crashes = 0
            record.spent += 1
            if record.spent >= record.allowed:
                raise Violated(f"job {record.id} spent {record.spent} of {record.allowed} attempts and is tried again")

    def _failed(self, record: Record, outcome: Failed, intent: Intent) -> None:
        if intent.by == "child-lost":
            record.crashes += 1
            record.spent += 1
            if record.crashes < self.poison_after:
                raise Violated(f"job {record.id} is quarantined after {record.crashes} lost children")
        elif intent.by == "policy":
            record.spent += 1
            if record.spent != record.allowed and record.spec.task.options.retry.max_retries:
                raise Violated(f"job {record.id} failed after {record.spent} of {record.allowed} attempts")
        else:
            raise Violated(f"job {record.id} was failed by the {intent.by}: {outcome.trouble}")

    def _final(self, record: Record) -> None:
        record.ended_at = self.clock()
        self.unfinished.discard(record.id)
        self._release(record)

    def _hold(self, record: Record) -> None:
        if record.lock is not None:
            holder = self.holders.setdefault(record.lock, record.id)
            if holder != record.id:
                raise Violated(f"job {record.id} came back beside {holder}, which holds its key")

    def _release(self, record: Record) -> None:
        if record.lock is not None and self.holders.get(record.lock) == record.id:
            del self.holders[record.lock]

    def _is_held(self, spec: Spec) -> bool:
        return spec.lock is not None and spec.lock in self.holders

    def _known(self, row: uuid.UUID) -> Record:
        if row not in self.records:
            raise Violated(f"phantom: job {row} changed, but nobody committed it")
        return self.records[row]

    # -- what the programs saw -----------------------------------------------------------------------------------------

    def body_began(self, job: uuid.UUID, token: int, kwargs: str, checkpoint: str | None) -> None:
        """A worker runs the function."""
        record = self._known(job)
        if record.token != token and token not in record.fenced:
            raise Violated(f"job {job}: a body runs under the token {token}, which never was a claim's")
        if kwargs != record.spec.kwargs:
            raise Violated(f"job {job} runs with {kwargs}, committed was {record.spec.kwargs}")
        if record.token == token and checkpoint != record.checkpoint:
            raise Violated(f"job {job} goes on from {checkpoint}, saved was {record.checkpoint}")
        if record.bodies - record.fenced - {token}:
            raise Violated(f"job {job} runs twice at once, and neither run is fenced")
        self.overlaps += bool(record.bodies)
        record.bodies.add(token)

    def heard(self, job: uuid.UUID, token: int, *, is_fenced: bool) -> None:
        """A body was told whether the job is still its own."""
        if is_fenced != (token in self.records[job].fenced):
            raise Violated(f"job {job}: the body of {token} heard that it is fenced: {is_fenced}, which is not so")

    def body_ended(self, job: uuid.UUID, token: int) -> None:
        """It returned, raised, or its process is gone."""
        self.records[job].bodies.discard(token)

    def settled(self, intent: Intent, answer: bool) -> None:
        """What settle told its caller."""
        if answer != intent.has_moved:
            raise Violated(f"settle of job {intent.job} said {answer}, committed was {intent.has_moved}")

    def rescued(self, worker: uuid.UUID, beats: dict[uuid.UUID, float], looked_at: float) -> None:
        """A rescuer takes a worker for lost, by what it could know when it looked."""
        silent = looked_at - beats.get(worker, float("-inf"))
        if silent < self.worker_timeout - 1e-6:
            raise Violated(f"worker {worker} was taken for lost {silent:.3f} s after a sign of life")

    def cancelled(self, chosen: Sequence[uuid.UUID]) -> None:
        """An operator was told that these are cancelled or asked to stop."""
        for record in map(self._known, chosen):
            if record.state not in FINAL and not record.is_cancel_asked:
                raise Violated(f"job {record.id} was cancelled, and is {record.state}")

    def refused_as_duplicate(self, lock: str, job: uuid.UUID) -> None:
        """An enqueue found the job that holds its key."""
        if self.holders.get(lock) != job:
            raise Violated(f"an enqueue was refused for job {job}, which does not hold the key any more")

    # -- the end -------------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """The table against the ledger, when everything has ended."""
        kept = {one.id: one for one in self.records.values() if not one.is_pruned}
        rows = {row[0]: row[1:] for row in Job.objects.values_list("id", "state", "attempt", "unique_lock")}
        if rows.keys() != kept.keys():
            raise Violated(f"lost: {kept.keys() - rows.keys()}, phantom: {rows.keys() - kept.keys()}")
        for job, row in rows.items():
            if row != (kept[job].state, kept[job].starts, None):
                raise Violated(f"job {job} is {row}, the ledger says {kept[job]}")
        counts: dict[uuid.UUID, int] = {}
        for job in Attempt.objects.values_list("job_id", flat=True):
            counts[job] = counts.get(job, 0) + 1
        wanted = {one.id: one.troubles for one in kept.values() if one.troubles}
        if counts != wanted:
            raise Violated(f"records of attempts: {counts}, ended attempts: {wanted}")

    def waiting_for(self) -> Sequence[Record]:
        """Jobs that have not ended."""
        return [self.records[job] for job in sorted(self.unfinished)]
