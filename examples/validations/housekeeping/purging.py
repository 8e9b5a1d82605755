"""Purging one file, and what becomes of a purge that fails."""

import datetime as dt

from django.utils import timezone
from validations.models import KeptFile

#: Before the second attempt; doubles with each failure, up to a day. It is never given up: we promised.
FIRST_WAIT = dt.timedelta(minutes=5)
LONGEST_WAIT = dt.timedelta(days=1)


class PurgeFailed(Exception):
    """The file is still there; its row says why, and when it is tried again."""


def wait_after(failures: int) -> dt.timedelta:
    return min(FIRST_WAIT * 2 ** min(failures - 1, 20), LONGEST_WAIT)


def purge(kept: KeptFile) -> None:
    """Remove the file, then write it down. Twice is as good as once: storage does not mind what is gone already."""
    now = timezone.now()
    try:
        kept.file.storage.delete(kept.file.name)
    except OSError as error:
        kept.failures += 1
        kept.error, kept.retry_at = str(error), now + wait_after(kept.failures)
        kept.save(update_fields=["failures", "error", "retry_at"])
        raise PurgeFailed(f"{error}; tried again from {kept.retry_at:%Y-%m-%d %H:%M}") from error
    kept.purged_at, kept.failures, kept.error, kept.retry_at = now, 0, "", None
    kept.save(update_fields=["purged_at", "failures", "error", "retry_at"])
