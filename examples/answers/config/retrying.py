"""What is tried again: errors that pass by themselves, and no others."""

import datetime as dt

from django.db import InterfaceError, OperationalError

from taskyard import RetryPolicy

#: Three times, after about 60, 120 and 240 seconds, never later than 600. Batches that a user starts have none of it:
#: the user looks, and clicks again. A lost worker spends no retry anywhere.
TRANSIENT = RetryPolicy(
    on=(ConnectionError, TimeoutError, OperationalError, InterfaceError), max_retries=3,
    backoff=dt.timedelta(seconds=60), backoff_max=dt.timedelta(seconds=600), jitter=True,
)  # fmt: skip
