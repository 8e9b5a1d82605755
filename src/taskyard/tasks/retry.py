"""When a failed attempt is tried again: a pure rule, no clock, no rows."""

from __future__ import annotations

import dataclasses
import datetime as dt

_ZERO = dt.timedelta(0)


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which errors are worth another attempt, how many, and how long to wait.

    The wait before retry *n* (1-based) is ``backoff * 2**(n-1)``, capped at ``backoff_max``; with ``jitter`` a share
    of it between 50 % and 100 % is used ("equal jitter", AWS Architecture Blog, 2015). A lost worker spends none of
    ``max_retries``.
    """

    #: Exception classes that are worth another attempt; everything else fails at once.
    on: tuple[type[BaseException], ...] = (Exception,)
    max_retries: int = 3
    backoff: dt.timedelta = dt.timedelta(seconds=60)
    backoff_max: dt.timedelta = dt.timedelta(minutes=10)
    jitter: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.on, tuple) or not all(isinstance(e, type) for e in self.on):
            raise TypeError("RetryPolicy(on=...) takes a tuple of exception classes")
        if self.max_retries < 0:
            raise ValueError("RetryPolicy(max_retries=...) cannot be negative")
        if self.backoff < _ZERO or self.backoff_max < _ZERO:
            raise ValueError("RetryPolicy waits cannot be negative")

    def wants(self, error: BaseException) -> bool:
        """Whether this error is worth another attempt."""
        return isinstance(error, self.on)

    def wait(self, retry: int, chance: float) -> dt.timedelta:
        """How long to wait before retry number ``retry`` (1-based); ``chance`` is a random number in [0, 1)."""
        # Divided rather than multiplied where it matters: the product could be more than a timedelta holds.
        factor: int = 2 ** min(max(retry, 1) - 1, 60)
        is_capped = self.backoff > self.backoff_max / factor
        wait = self.backoff_max if is_capped else min(self.backoff * factor, self.backoff_max)
        share = 0.5 + chance / 2 if self.jitter else 1.0
        return wait * share


#: A task without a policy is not retried.
NO_RETRY = RetryPolicy(on=(), max_retries=0)
