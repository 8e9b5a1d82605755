"""Go through many items in one job, whatever one of them does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError

from taskyard import current_job
from taskyard.errors import JobCancelled, JobFenced, NoCurrentJob

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Not one item's own trouble: the job ends.
_FOR_THE_WHOLE_JOB = (SoftTimeLimitExceeded, JobCancelled, JobFenced, OperationalError, InterfaceError)


def do_each(items: Sequence[T], act: Callable[[T], object], *, what: str) -> dict[str, Any]:
    """Do it to each; what fails is kept with the job, and the others are done.

    An attempt after a crash goes on where the last one stood, so the items must come in the same order. Without a job,
    when the task is called as a function, it goes through them all the same.
    """
    job = running_job()
    start = (job.checkpoint or 0) if job else 0
    rest = items[start:]
    failed: dict[str, str] = {}
    for done, item in enumerate(job.track(rest, total=len(items), start=start) if job else rest, 1):
        try:
            act(item)
        except _FOR_THE_WHOLE_JOB:
            raise
        except Exception as error:
            logger.warning("%s: %s: %s", what, item, error)
            failed[str(item)] = str(error)
            if job:
                job.item_failed(item, error)
        if job:
            # An item takes longer than this write, which the next attempt reads.
            job.save_checkpoint(start + done)
    return {"success": True, "processed": len(rest), "successful": len(rest) - len(failed), "failed": len(failed)}


def running_job() -> Any:
    """The job that runs here, or None where a task is called as a function."""
    with suppress(NoCurrentJob):
        return current_job()
    return None
