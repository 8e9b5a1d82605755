"""What a body says of how far it is, until somebody writes it: saying is cheap, taking does the work.

A body may report a hundred thousand times a second, and what it says is written twice a second. So saying is storing
one tuple, without a lock, a clock or a check; :meth:`Report.take` makes columns of the last one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from taskyard.errors import InvalidProgress

logger = logging.getLogger(__name__)

#: Item errors kept per job; later ones are only counted.
MAX_ITEM_ERRORS = 100
#: Cut to what the column takes when secrets are taken out of it.
_MESSAGE_LENGTH = 4000
#: What some database refuses in text.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
#: Beside the lists and numbers of ``track`` and ``item_failed``; one word in the other's column would hide it.
_RENAMED = {"errors": "failed"}

Said = tuple[Any, Any, Any]
_NOTHING: Said = (None, None, "")


class Count:
    """Items that one loop is through with; only that loop adds to it, so it needs no lock."""

    __slots__ = ("succeeded",)

    def __init__(self) -> None:
        self.succeeded = 0


class Report:
    """Of one attempt. ``counts`` are those of the attempt before, where this one goes on from a checkpoint."""

    def __init__(self, counts: str | None = None) -> None:
        #: ``current``, ``total``, ``message`` as said last; replaced as a whole, so that threads see no mixture.
        self.said: Said = _NOTHING
        self._taken: Said = _NOTHING
        self._reached: tuple[float, float | None] | None = None
        before: dict[str, Any] = json.loads(counts) if counts else {}
        self._errors: list[dict[str, str]] = before.pop("errors", [])
        self._failed, self._succeeded = int(before.pop("failed", 0)), int(before.pop("succeeded", 0))
        self._tally: Mapping[str, int] = before
        self._loops: list[Count] = []
        self._open = 0
        #: Failures of items that a loop has not counted yet: it counts each as failed or as succeeded, not both.
        self.owed = 0
        self._lock = threading.Lock()
        self._taken_counts: object = self._counted()
        self._warned = False

    @contextlib.contextmanager
    def loop(self) -> Iterator[Count]:
        """While a loop runs, for it to count what it is through with."""
        count = Count()
        with self._lock:
            self._loops.append(count)
            self._open += 1
        try:
            yield count
        finally:
            with self._lock:
                self._open -= 1
                self.owed = self.owed if self._open else 0

    def begin_anew(self) -> None:
        """After a fork: a thread that is not here may have held it."""
        self._lock = threading.Lock()

    def item_failed(self, item: Any, error: BaseException | str, *, clean: Callable[[str], str] = str) -> None:
        """Count an item as failed, and keep the error of the first hundred, as ``clean`` leaves its words."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        with self._lock:
            if len(self._errors) < MAX_ITEM_ERRORS:
                self._errors.append({"item": clean(str(item))[:200], "error": clean(text)[:500]})
            self._failed += 1
            self.owed += 1 if self._open else 0

    def pay(self, count: Count) -> None:
        """The loop of ``count`` is through with an item, and some item failed."""
        with self._lock:
            if self.owed:
                self.owed -= 1
                return
        count.succeeded += 1

    def tally(self, counts: Mapping[str, int]) -> None:
        """Replace the numbers by name; those that are not named stay."""
        renamed = {_RENAMED.get(name, name): checked(value, f"the count {name!r}") for name, value in counts.items()}
        with self._lock:
            self._tally = {**self._tally, **{name: int(value) for name, value in renamed.items()}}

    def take(self, now: dt.datetime) -> dict[str, Any]:
        """Columns of what was said since the last time; empty where that is nothing."""
        values: dict[str, Any] = {}
        said = self.said
        if said is not self._taken:
            self._taken = said
            values.update(self._columns(said))
        counted = self._counted()
        if counted != self._taken_counts:
            self._taken_counts = counted
            values["counts"] = self._counts_text()
        return {**values, "progress_at": now} if values else values

    def _columns(self, said: Said) -> dict[str, Any]:
        try:
            current, total = checked(said[0], "current"), None if said[1] is None else checked(said[1], "total")
        except InvalidProgress as error:
            if not self._warned:
                logger.warning("A report of progress was left out: %s", error)
            self._warned = True
            return {}
        if self._reached is not None and total == self._reached[1]:
            # Late news of a slower thread, say: what readers have seen does not go back. Another total begins anew.
            current = max(current, self._reached[0])
        self._reached = current, total
        return {"progress_current": current, "progress_total": total, "progress_message": cleaned(said[2])}

    def _counted(self) -> object:
        done = self._succeeded + sum(loop.succeeded for loop in self._loops)
        return done, self._failed, self._tally

    def _counts_text(self) -> str:
        with self._lock:
            done = self._succeeded + sum(loop.succeeded for loop in self._loops)
            counts: dict[str, Any] = {}
            if self._loops or done or self._failed:
                counts = {"succeeded": done, "failed": self._failed}
            counts.update(self._tally)
            if self._failed:
                counts["errors"] = self._errors
            return json.dumps(counts)


def checked(value: Any, what: str) -> float:
    """A finite number, not below zero; raises :class:`~taskyard.errors.InvalidProgress`."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidProgress(what, value) from None
    if isinstance(value, str) or not math.isfinite(number) or number < 0:
        raise InvalidProgress(what, value)
    return number


def progress_in(meta: Any) -> tuple[float, float | None, str] | None:
    """What Celery's ``update_state(meta={"current": 3, "total": 10})`` says of how far a task is, or None.

    The keys are those of Celery's own documentation and of celery-progress, which has a ``description`` as well.
    """
    if not isinstance(meta, Mapping) or "current" not in meta:
        return None
    try:
        total = None if meta.get("total") is None else checked(meta["total"], "total")
        return checked(meta["current"], "current"), total, str(meta.get("description") or "")
    except InvalidProgress:
        # Words for something else.
        return None


def cleaned(message: Any) -> str:
    """A message as every database takes it."""
    text = "" if message is None else str(message)
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:_MESSAGE_LENGTH])
