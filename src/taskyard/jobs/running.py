"""What a task may do with its own running job: progress, items, checkpoint, noticing a cancel."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar, cast

from taskyard.errors import JobCancelled, JobFenced
from taskyard.jobs.scribe import Scribe, scribe
from taskyard.tasks.payload import encode_value

T = TypeVar("T")

#: Item errors kept per job; later ones are only counted.
MAX_ITEM_ERRORS = 100


class RunningJob:
    """The job whose body is running. Its writes are coalesced and carry the attempt's claim token.

    Progress, counts and checkpoint are written at most every ``TASKYARD["PROGRESS_INTERVAL"]``; the last value always
    lands, with the settle at the latest. Once the job was taken for lost and given to another attempt, nothing it
    writes counts and its next check raises :class:`~taskyard.errors.JobFenced`.
    """

    def __init__(
        self, job_id: uuid.UUID, task: str, *, token: int, attempt: int, max_attempts: int = 1,
        root: uuid.UUID | None = None, tenant: str = "", checkpoint: str | None = None, counts: str | None = None,
    ) -> None:  # fmt: skip
        self.id, self.task, self.token = job_id, task, token
        self.attempt, self.max_attempts = attempt, max_attempts
        self.root, self.tenant = root or job_id, tenant
        self._checkpoint = json.loads(checkpoint) if checkpoint else None
        self._counts: dict[str, Any] = json.loads(counts) if counts else {}
        self._dirty: dict[str, Any] = {}
        #: Taken by a thread that has not said yet what became of it.
        self._in_flight: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        #: Held by the thread that is writing this job's report.
        self.writing = threading.Lock()
        self._cancelled = self._fenced = self._watched = False

    @property
    def _scribe(self) -> Scribe:
        return scribe()

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far it is. Cheap: at most about two writes a second reach the database, the last one always."""
        self._write(
            progress_current=current, progress_message=message[:500], progress_at=dt.datetime.now(dt.UTC),
            **({} if total is None else {"progress_total": total}),
        )  # fmt: skip

    def track(self, items: Iterable[T], *, total: int | None = None, message: str = "") -> Iterator[T]:
        """Yield the items one by one, counting them; stops with :class:`JobCancelled` when a cancel was asked for."""
        if total is None and hasattr(items, "__len__"):
            total = len(cast(Sized, items))
        for done, item in enumerate(items):
            self.raise_if_cancelled()
            self.progress(done, total, message)
            yield item
            self._count("succeeded")
        self.progress(total if total is not None else self._done, total, message)

    @property
    def _done(self) -> int:
        return int(self._counts.get("succeeded", 0)) + int(self._counts.get("failed", 0))

    def item_failed(self, item: Any, error: BaseException | str) -> None:
        """Record that one item of a batch failed and go on; the first 100 errors are kept, all are counted."""
        with self._lock:
            errors = self._counts.setdefault("errors", [])
            if len(errors) < MAX_ITEM_ERRORS:
                text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
                errors.append({"item": str(item)[:200], "error": text[:500]})
            # track() counts an item as succeeded when the loop asks for the next one.
            self._counts["failed"] = int(self._counts.get("failed", 0)) + 1
            self._counts["pending_failures"] = int(self._counts.get("pending_failures", 0)) + 1
        self._write_counts()

    def _count(self, what: str) -> None:
        with self._lock:
            if self._counts.get("pending_failures"):
                self._counts["pending_failures"] -= 1
            else:
                self._counts[what] = int(self._counts.get(what, 0)) + 1
        self._write_counts()

    def _write_counts(self) -> None:
        with self._lock:
            kept = {k: v for k, v in self._counts.items() if k != "pending_failures"}
            text = json.dumps(kept)
        self._write(counts=text)

    @property
    def checkpoint(self) -> Any:
        """What an earlier attempt, or this one, saved; None at first."""
        return self._checkpoint

    @checkpoint.setter
    def checkpoint(self, value: Any) -> None:
        text = encode_value(self.task, "the checkpoint", value)
        self._checkpoint = json.loads(text)
        self._write(checkpoint=text)

    def save_checkpoint(self, value: Any) -> None:
        """Set :attr:`checkpoint` and wait until it is in the database; raises :class:`JobFenced` if refused.

        Where the database cannot take it now (SQLite, while the task itself holds a transaction) it lands with the end
        of the attempt.
        """
        self.checkpoint = value
        self._scribe.flush(self)
        self._raise_if_fenced()

    @property
    def is_cancelled(self) -> bool:
        """Whether a cancel was asked for, as of at most one ``PROGRESS_INTERVAL`` ago."""
        self._watch()
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobCancelled` if a cancel was asked for, :class:`JobFenced` if the job was given away."""
        self._watch()
        self._raise_if_fenced()
        if self._cancelled:
            raise JobCancelled(str(self.id))

    def _raise_if_fenced(self) -> None:
        if self._fenced:
            raise JobFenced(str(self.id))

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._scribe.flush(self)
        self._scribe.watch(self)

    def report(self, **values: Any) -> None:
        """Write columns of the row the coalesced way."""
        self._write(**values)

    def _write(self, **values: Any) -> None:
        with self._lock:
            self._dirty.update(values)
        self._scribe.watch(self)

    def take_dirty(self) -> dict[str, Any]:
        """What is not written yet; whoever takes it says :meth:`written`, or gives it back with :meth:`put_back`."""
        with self._lock:
            dirty, self._dirty = self._dirty, {}
            self._in_flight.append(dirty)
            return dirty

    def written(self, values: dict[str, Any]) -> None:
        """What was taken is in the database, or is refused for good."""
        with self._lock:
            self._in_flight = [taken for taken in self._in_flight if taken is not values]

    def put_back(self, values: dict[str, Any]) -> None:
        """Give back what could not be written; newer values win."""
        self.written(values)
        with self._lock:
            self._dirty = {**values, **self._dirty}

    def take_report(self) -> dict[str, Any]:
        """For the settle: what is not written, and what another thread is writing just now.

        That thread may come too late: once the settle has moved the row, its statement finds no running attempt.
        """
        with self._lock:
            report: dict[str, Any] = {}
            for values in (*self._in_flight, self._dirty):
                report.update(values)
            self._dirty, self._in_flight = {}, []
            return report

    def heard(self, *, owned: bool, cancelled: bool) -> None:
        """What the database said when last asked."""
        self._fenced = self._fenced or not owned
        self._cancelled = self._cancelled or cancelled
