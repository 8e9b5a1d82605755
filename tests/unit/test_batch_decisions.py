"""What the counts of a batch mean, without a database."""

import datetime as dt
import uuid

import pytest

from taskyard.batches.decision import BatchState, Moment, Standing, due, state_of
from taskyard.batches.queries import Reading

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def standing(
    total: int, succeeded: int = 0, failed: int = 0, cancelled: int = 0, *, sealed: bool = True, stopped: bool = False
) -> Standing:
    return Standing(total, succeeded, failed, cancelled, is_sealed=sealed, is_cancelled=stopped)


@pytest.mark.parametrize(
    ("counts", "state", "moments"),
    [
        (standing(3), BatchState.RUNNING, []),
        (standing(3, 2), BatchState.RUNNING, []),
        (standing(3, 1, 1), BatchState.RUNNING, ["failure"]),
        (standing(3, 3), BatchState.COMPLETED, ["complete", "next", "success"]),
        (standing(3, 2, 1), BatchState.COMPLETED, ["failure", "complete", "next"]),
        (standing(3, 2, 0, 1), BatchState.COMPLETED, ["complete", "next"]),
        (standing(3, 1, 0, 2, stopped=True), BatchState.CANCELLED, ["complete"]),
        (standing(0), BatchState.COMPLETED, ["complete", "next", "success"]),
        # The block that opens it is still running: more may come.
        (standing(3, 3, sealed=False), BatchState.RUNNING, []),
    ],
)
def test_the_counts_decide(counts: Standing, state: BatchState, moments: list[str]) -> None:
    assert state_of(counts) == state
    assert due(counts, []) == moments


def test_a_moment_comes_once_and_success_may_come_later_than_the_end() -> None:
    told = due(standing(2, 1, 1), [])
    assert told == [Moment.FAILURE, Moment.COMPLETE, Moment.NEXT]
    # An operator brought the failed member back, and it succeeded.
    assert due(standing(2, 1, 0), told) == []
    assert due(standing(2, 2, 0), told) == [Moment.SUCCESS]


def test_a_failure_that_was_taken_back_before_anybody_looked_was_one() -> None:
    seen = Standing(2, 1, 0, 0, is_sealed=True, is_cancelled=False, saw_failure=True)
    assert due(seen, []) == [Moment.FAILURE]


def test_a_reading_tells_share_rate_and_what_is_left() -> None:
    def read(total: float | None, current: float, seconds: float, *, ended: bool = False) -> Reading:
        heard = NOW + dt.timedelta(seconds=seconds)
        return Reading(
            uuid.uuid4(), "batch", "b", "running", "", total, int(current), 0, 0, current, NOW, heard,
            heard if ended else None, None, is_stale=False,
        )  # fmt: skip

    half = read(100, 50, 25)
    assert (half.percent, half.rate, half.remaining_seconds) == (50.0, 2.0, 25.0)
    assert (read(None, 5, 1).percent, read(None, 5, 1).remaining_seconds) == (None, None)
    assert (read(0, 0, 0).percent, read(10, 0, 5).rate) == (100.0, None)
    assert read(10, 10, 5, ended=True).remaining_seconds is None
