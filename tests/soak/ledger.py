"""The history that every process of a run writes to."""

import datetime as dt
import os

from taskyard import RetryPolicy
from taskyard.testing.history import History

#: Of a task whose own statements meet a database that is away: its body fails, which is nobody's fault but the storm's.
UNTIL_IT_ANSWERS = RetryPolicy(
    max_retries=30, backoff=dt.timedelta(milliseconds=100), backoff_max=dt.timedelta(seconds=1)
)

HISTORY = History(os.environ.get("SOAK_HISTORY", os.devnull))
