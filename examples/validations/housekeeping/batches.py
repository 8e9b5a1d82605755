"""Work through many things a batch at a time, whatever one of them does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError
from django.db.models import Model, QuerySet

from taskyard import current_job
from taskyard.errors import JobCancelled, JobFenced, NoCurrentJob

logger = logging.getLogger(__name__)
T = TypeVar("T")
Row = TypeVar("Row", bound=Model)

#: What a job returns: how many were found, done and failed; with a dry run only found.
Counts = dict[str, int]

#: Not one thing's own trouble: the job ends, and its next run goes on where it stopped.
_FOR_THE_WHOLE_JOB = (SoftTimeLimitExceeded, JobCancelled, JobFenced, OperationalError, InterfaceError)


@dataclass(frozen=True)
class HowMuch:
    """One batch of that size, or batches until nothing is left; with ``dry_run`` they are only counted."""

    batch_size: int
    everything: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"A batch has at least 1 row; batch_size is {self.batch_size}.")


def do_each(batches: Iterable[Sequence[T]], act: Callable[[T], object], how: HowMuch) -> Counts:
    """Do it to each; what fails is told and left as it is, and the others are done.

    An ``act`` that returns False had nothing to do any more, and counts as neither.
    """

    def act_on(batch: Sequence[T]) -> Counts:
        return Counter(verdict for one in batch if (verdict := _verdict(act, one)))

    return _go_through(batches, act_on, how)


def delete(rows: QuerySet[Any], how: HowMuch) -> Counts:
    """Delete them, a statement for each batch, as far as they are still among ``rows`` by then."""

    def delete_batch(batch: Sequence[Model]) -> Counts:
        return {"done": rows.filter(pk__in=[row.pk for row in batch]).delete()[0]}

    return _go_through(pages(rows, how), delete_batch, how)


def pages(rows: QuerySet[Row], how: HowMuch) -> Iterator[list[Row]]:
    """Rows in the order of their keys, read when they are asked for: one that stays is not met twice."""
    rest = rows.order_by("pk")
    while page := list(rest[: how.batch_size]):
        yield page
        rest = rows.order_by("pk").filter(pk__gt=page[-1].pk)


def parts(things: Sequence[T], how: HowMuch) -> Iterator[Sequence[T]]:
    """The same for what is no row."""
    for start in range(0, len(things), how.batch_size):
        yield things[start : start + how.batch_size]


def words(counts: Counts) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _go_through(batches: Iterable[Sequence[T]], act_on: Callable[[Sequence[T]], Counts], how: HowMuch) -> Counts:
    counts = Counter(found=0) if how.dry_run else Counter(found=0, done=0, failed=0)
    _report(counts)
    for batch in batches if how.everything else islice(batches, 1):
        counts["found"] += len(batch)
        if not how.dry_run:
            counts.update(act_on(batch))
        _report(counts)
    return dict(counts)


def _verdict(act: Callable[[T], object], one: T) -> str:
    try:
        return "" if act(one) is False else "done"
    except _FOR_THE_WHOLE_JOB:
        raise
    except Exception as error:
        _tell(one, error)
        return "failed"


def _report(counts: Counts) -> None:
    """On the job's row, which keeps it though there is no result backend; stops here if the job was cancelled."""
    with suppress(NoCurrentJob):
        job = current_job()
        job.progress(counts["found"], message=words(counts))
        job.raise_if_cancelled()


def _tell(one: object, error: Exception) -> None:
    """To the log and the job: ``taskyard jobs show`` lists what failed."""
    logger.warning("%s: %s: %s", one, type(error).__name__, error)
    with suppress(NoCurrentJob):
        current_job().item_failed(one, error)
