"""Carrying a verb out over many jobs: batch by batch, each counted in the audit, at a pace, until told to stop."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db.models import F
from django.utils import timezone

from taskyard.operations.acting.entries import together
from taskyard.operations.bulk.pacing import paced
from taskyard.operations.bulk.selection import Place, Selection, selection_from_json
from taskyard.operations.jobs import ACTS, Doing
from taskyard.operations.models import AuditEntry

#: Jobs of one batch: one transaction, and with a rate those of a fifth of a second.
BATCH, _PARTS = 500, 5


def batch_size(rate: float | None) -> int:
    """Jobs of one batch at a rate."""
    return BATCH if rate is None else max(1, min(BATCH, math.ceil(rate / _PARTS)))


@dataclasses.dataclass(slots=True)
class Run:
    """One verb on its way through a selection. What it needs to know stands in its audit entry, which nobody edits."""

    entry: AuditEntry
    selection: Selection
    act: str
    rate: float | None
    #: Where to go on, and how many jobs were looked at and changed since this object was made.
    place: Place | None = None
    seen: int = 0
    changed: int = 0

    @classmethod
    def of(cls, entry: AuditEntry) -> Run:
        """The one that an entry describes."""
        said = entry.said
        return cls(entry, selection_from_json(said), said["act"], said["rate"])

    def steps(self, check: Callable[[], Any] = lambda: None) -> Iterator[Run]:
        """Do it, batch by batch, at the rate asked for; ``check`` is called often and may raise.

        Each batch is one transaction with its count in the audit. What is done twice, because nobody could say any
        more that it was done, changes nothing the second time.
        """
        for batch in paced(self._batches(), self.rate):
            check()
            if batch:
                self._do(batch)
                yield self

    def _batches(self) -> Iterator[Sequence[Place]]:
        while batch := self.selection.batch(self.place, batch_size(self.rate)):
            yield batch

    def _do(self, batch: Sequence[Place]) -> None:
        tenant = self.selection.wanted.tenant
        doing = Doing(now=timezone.now(), by=self.entry.user or self.entry.who, reason=self.entry.reason, tenant=tenant)
        with together():
            changed = ACTS[self.act]([place.id for place in batch], doing)
            AuditEntry.objects.filter(pk=self.entry.pk).update(count=F("count") + changed)
        self.place, self.seen, self.changed = batch[-1], self.seen + len(batch), self.changed + changed

    def close(self, how: str) -> None:
        """Write how it ended: ``done`` or ``aborted``. What is closed is not taken up again."""
        ended = {"ended": how, "at": timezone.now().isoformat(), "looked_at": self.seen}
        AuditEntry.objects.filter(pk=self.entry.pk).update(after=ended)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.entry.after is not None


def place_from_json(stored: Any) -> Place:
    """Where a checkpoint says that it was."""
    ended_at, job_id, lane = stored
    return Place(ended_at and dt.datetime.fromisoformat(ended_at), uuid.UUID(job_id), lane)


def place_to_json(place: Place) -> list[Any]:
    """As a checkpoint keeps it."""
    return [place.ended_at and place.ended_at.isoformat(), str(place.id), place.lane]
