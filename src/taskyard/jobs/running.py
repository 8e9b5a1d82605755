"""What a task may do with its own running job: progress, items, checkpoint, noticing a cancel."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar, cast

from django.utils import timezone

from taskyard.errors import JobCancelled, JobFenced
from taskyard.jobs.progress.report import Report, checked
from taskyard.jobs.redaction import names_of, redact_text
from taskyard.jobs.scribe import Scribe, scribe
from taskyard.tasks.payload import encode_value

T = TypeVar("T")

#: Of a text that is kept in part, so much is searched for secrets.
_LOOKED_AT = 4000


class RunningJob:
    """The job whose body is running. Its writes are coalesced and carry the attempt's claim token.

    Progress, counts and checkpoint are written at most every ``TASKYARD["PROGRESS_INTERVAL"]``; the last value always
    lands, with the settle at the latest. Once the job was taken for lost and given to another attempt, nothing it
    writes counts and its next check raises :class:`~taskyard.errors.JobFenced`.
    """

    def __init__(
        self, job_id: uuid.UUID, task: str, *, token: int, attempt: int, max_attempts: int = 1,
        root: uuid.UUID | None = None, tenant: str = "", checkpoint: str | None = None, counts: str | None = None,
        batch: uuid.UUID | None = None,
    ) -> None:  # fmt: skip
        self.id, self.task, self.token = job_id, task, token
        self.attempt, self.max_attempts = attempt, max_attempts
        self.root, self.tenant = root or job_id, tenant
        #: The batch it is a member of.
        self.batch = batch
        self._checkpoint = json.loads(checkpoint) if checkpoint else None
        # An attempt that goes on from a checkpoint goes on counting; one that starts over counts from zero.
        self._report = Report(counts if checkpoint else None)
        self._dirty: dict[str, Any] = {}
        #: Taken by a thread that has not said yet what became of it.
        self._in_flight: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        #: The secrets among its arguments, worked out when a text of the job's is to be written.
        self.secrets: Callable[[], Collection[str]] = tuple
        #: Held by the thread that is writing this job's report.
        self.writing = threading.Lock()
        self._cancelled = self._fenced = self._asked = False
        #: Whether the scribe looks after this job, and whether a check has more to do than nothing.
        self._is_followed, self._must_check = False, True

    @property
    def _scribe(self) -> Scribe:
        return scribe()

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far it is; without a total, that of the last call stands.

        Cheap (some hundred nanoseconds): at most about two writes a second reach the database, the last one always.
        Readers never see it go back: a smaller ``current`` than before is left out, unless ``total`` changes, which
        begins anew (the next part of the work). Raises :class:`~taskyard.errors.InvalidProgress` for the first report
        if it is no number; a later one like that is left out, and logged.
        """
        report = self._report
        report.said = (current, report.said[1] if total is None else total, message)
        if not self._is_followed:
            checked(current, "current")
            self._follow()

    def track(self, items: Iterable[T], *, total: int | None = None, message: str = "", start: int = 0) -> Iterator[T]:
        """Yield the items one by one, counting them; stops with :class:`JobCancelled` when a cancel was asked for.

        ``start`` is how many an earlier attempt was through with, where this one goes on from a checkpoint.
        """
        if total is None and hasattr(items, "__len__"):
            total = start + len(cast(Sized, items))
        done, report = start, self._report
        with report.loop() as count:
            for item in items:
                if self._must_check:
                    self.raise_if_cancelled()
                report.said = (done, total, message)
                yield item
                done += 1
                if report.owed:
                    report.pay(count)
                else:
                    count.succeeded += 1
        self.progress(done, total, message)

    def progressing(self, *, total: float | None = None, message: str = "") -> Progressing:
        """For work that is no loop, or several threads: ``with job.progressing(total=10) as p: p.advance()``."""
        return Progressing(self, total=total, message=message)

    def tally(self, counts: Mapping[str, int]) -> None:
        """Say how many of each there are so far (``{"created": 3, "updated": 1}``); shown beside the progress."""
        self._report.tally(counts)
        self._follow()

    def item_failed(self, item: Any, error: BaseException | str) -> None:
        """Record that one item of a batch failed and go on; the first 100 errors are kept, all are counted."""
        self._report.item_failed(item, error, clean=self._clean)
        self._follow()

    def _follow(self) -> None:
        self._scribe.watch(self)
        self._is_followed = True

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
        self._ask()
        return self._cancelled

    def raise_if_cancelled(self) -> None:
        """Raise :class:`JobCancelled` if a cancel was asked for, :class:`JobFenced` if the job was given away."""
        if not self._must_check:
            return
        # Before looking: what is heard from here on sets it again.
        self._must_check = False
        self._ask()
        self._must_check = self._fenced or self._cancelled
        self._raise_if_fenced()
        if self._cancelled:
            raise JobCancelled(str(self.id))

    def _raise_if_fenced(self) -> None:
        if self._fenced:
            raise JobFenced(str(self.id))

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._scribe.flush(self)
        if not self._is_followed:
            self._follow()

    def begin_anew(self) -> None:
        """In a process that the body forked: nobody there writes yet, and locks may be held by threads that are not."""
        self._lock, self.writing = threading.Lock(), threading.Lock()
        self._report.begin_anew()
        self._is_followed = False

    def report(self, **values: Any) -> None:
        """Write columns of the row the coalesced way."""
        self._write(**values)

    def _write(self, **values: Any) -> None:
        with self._lock:
            self._dirty.update(values)
        self._follow()

    def _clean(self, text: str) -> str:
        return redact_text(text[:_LOOKED_AT], self.secrets(), names=names_of(self.task))

    def _cleaned(self, values: dict[str, Any]) -> dict[str, Any]:
        # Not when it was said: that may be a hundred thousand times a second, and most of it is never written.
        if values.get("progress_message"):
            values["progress_message"] = self._clean(values["progress_message"])[:500]
        return values

    def take_dirty(self) -> dict[str, Any]:
        """What is not written yet; whoever takes it says :meth:`written`, or gives it back with :meth:`put_back`."""
        with self._lock:
            dirty = self._cleaned({**self._dirty, **self._report.take(timezone.now())})
            self._dirty = {}
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
            for values in (*self._in_flight, self._dirty, self._report.take(timezone.now())):
                report.update(values)
            self._dirty, self._in_flight = {}, []
            return self._cleaned(report)

    def heard(self, *, owned: bool, cancelled: bool) -> None:
        """What the database said when last asked."""
        self._fenced = self._fenced or not owned
        self._cancelled = self._cancelled or cancelled
        if self._fenced or self._cancelled:
            self._must_check = True


class Progressing:
    """Counts up; one object may be advanced by several threads. Entering it says 0, and notices a cancel."""

    def __init__(self, job: RunningJob, *, total: float | None, message: str) -> None:
        self._job, self._lock = job, threading.Lock()
        self.current: float = 0
        self.total, self.message = total, message

    def advance(self, by: float = 1, message: str | None = None) -> None:
        """So much more is done; raises :class:`JobCancelled` when a cancel was asked for."""
        self._job.raise_if_cancelled()
        with self._lock:
            self.current += by
            self.message = self.message if message is None else message
            self._job.progress(self.current, self.total, self.message)

    def __enter__(self) -> Progressing:
        self._job.raise_if_cancelled()
        self._job.progress(0, self.total, self.message)
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to do: the last value is written with the end of the attempt at the latest."""
