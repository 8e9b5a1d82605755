"""What really ran and what was really committed: a file outside of the database, one line for each thing that happened.

Every line is one write to a file opened for appending, so that processes share it without locks and a killed one leaves
no half line. A line is in the operating system's hands before the call returns: it survives any death of a process, not
one of the machine. Times are of the clock that all processes of one host share and nobody sets (``CLOCK_BOOTTIME``).

Tasks write ``start``, ``end`` and ``effect``; a producer writes what it committed and asked for; whoever breaks things
writes what it broke. :mod:`taskyard.testing.checker` reads it all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import transaction

from taskyard.jobs.current import current_job
from taskyard.settings import get_settings

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_HOST = socket.gethostname()
#: Ids of one line, so that a line stays below what a file system writes in one piece.
_CHUNK = 100


def now() -> float:
    """The clock of every line: seconds since this machine started, the same in all of its processes."""
    return time.clock_gettime(_CLOCK)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened."""

    what: str
    at: float
    pid: int
    host: str
    job: str = ""
    attempt: int = 0
    #: The claim token of the attempt.
    token: int = 0
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class History:
    """Writes lines to one file. Safe to share among threads, and across a fork."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def write(self, what: str, **values: Any) -> None:
        """Append one line."""
        line = {"what": what, "at": now(), "pid": os.getpid(), "host": _HOST, **values}
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.write(self._file, (json.dumps(line, default=str, separators=(",", ":")) + "\n").encode())

    # -- what a task writes

    @contextmanager
    def attempt(self, *, unique: str = "") -> Iterator[None]:
        """Around the body of a task: when this attempt began and ended, and how.

        ``unique`` is the job's unique key, for tasks whose key is held to their end: no other job of that key may run
        between this one's first start and its last end.
        """
        job = current_job()
        who = {"job": str(job.id), "attempt": job.attempt, "token": job.token}
        self.write("start", **who, task=job.task, **({"unique": unique} if unique else {}))
        has_returned = False
        try:
            yield
            has_returned = True
        finally:
            self.write("end", **who, how="returned" if has_returned else type(sys.exception()).__name__)

    def hands_over(self) -> None:
        """Just before ``replace()``: this attempt does not end, other jobs end it."""
        job = current_job()
        self.write("handed over", job=str(job.id), attempt=job.attempt)

    def effect(self, key: str, value: Any = None) -> None:
        """Say that the running job is what followed under this key (see :meth:`expects`), and with what."""
        self.write("effect", job=str(current_job().id), key=key, value=value)

    # -- what a producer writes

    @contextmanager
    def transaction(self) -> Iterator[list[Any]]:
        """``transaction.atomic()`` on the control database; put the ids of the jobs written in it into the list.

        Afterwards they are written down as committed or as rolled back. If the commit itself failed, as it may when the
        database dies, nobody knows: either is right then.
        """
        ids: list[Any] = []
        what = "rolled back"
        try:
            with transaction.atomic(using=get_settings().database):
                yield ids
                self._ids("intended", ids)
                what = ""
            what = "committed"
        finally:
            if what:
                self._ids(what, ids)

    def _ids(self, what: str, ids: Iterable[Any]) -> None:
        every = [str(one) for one in ids]
        for first in range(0, len(every), _CHUNK):
            self.write(what, jobs=every[first : first + _CHUNK])

    def uncertain(self, since: uuid.UUID, until: uuid.UUID) -> None:
        """A write outside of a transaction failed: a job whose id is between these two may be there, or not."""
        self.write("uncertain", since=str(since), until=str(until))

    def may_end(self, job_id: Any, *states: str) -> None:
        """In which final states this job is right; without it, any."""
        self.write("may end", job=str(job_id), states=states)

    def expects(self, key: str, *, after: Iterable[Any], state: str = "succeeded", value: Any = None) -> None:
        """One job, and only one, must write :meth:`effect` with this key if all jobs of ``after`` end in this state,
        and none if not. With a ``value``, it must be that one."""
        self.write("expects", key=key, after=[str(job) for job in after], state=state, value=value)

    def cancelled(self, job_id: uuid.UUID) -> None:
        """A cancel of a job that had not started has committed: it must never start any more."""
        self.write("cancelled", job=str(job_id))

    def brought_back(self, job_id: uuid.UUID) -> None:
        """An operator is about to bring an ended job back."""
        self.write("brought back", job=str(job_id))

    # -- what whoever breaks things writes

    def killed(self, pids: Iterable[int]) -> None:
        """These processes are about to be killed."""
        self.write("killed", pids=list(pids))

    def froze(self, pids: Iterable[int]) -> None:
        """These processes stand still, or are cut off from the database; overlaps with what runs in them are fenced."""
        self.write("froze", pids=list(pids))

    def thawed(self, pids: Iterable[int]) -> None:
        """These processes go on."""
        self.write("thawed", pids=list(pids))

    def database_crashed(self) -> None:
        """The database is about to lose the commits that are not yet on disk: claims, and successes with no effect."""
        self.write("database crashed")


def read(path: Path | str) -> Iterator[Line]:
    """The lines of a file in the order in which they were written; nothing if there is no file."""
    if not Path(path).exists():
        return
    with Path(path).open(encoding="utf-8") as file:
        for text in file:
            yield _line(json.loads(text))


_OWN = ("what", "at", "pid", "host", "job", "attempt", "token")


def _line(values: dict[str, Any]) -> Line:
    own = {name: values.pop(name) for name in _OWN if name in values}
    return Line(**own, more=values)
