"""Which requests go to a child together, and what becomes of them."""

from collections import deque
from typing import Any

import pytest
from billiard.exceptions import Terminated, WorkerLostError

from taskyard.celery.attempt.executor import exception_info
from taskyard.celery.worker import bundle
from taskyard.celery.worker.bundle import Bundle, RunTimes, size, take_along


class Waiting:
    """As much of a request as a bundle knows."""

    connection_errors = ()

    def __init__(self, name: str, *, can_be_bundled: bool = True, is_terminating: bool = False) -> None:
        self.name, self.can_be_bundled, self.is_terminating = name, can_be_bundled, is_terminating
        self.is_released = self.acknowledged = False
        self.failed_with: BaseException | None = None
        self.succeeded_with: Any = None
        self.requeued = 0

    def on_failure(self, exc_info: Any) -> None:
        self.failed_with = exc_info.exception.exc

    def on_success(self, end: Any) -> None:
        self.succeeded_with = end

    def on_reject(self, logger: Any, errors: Any, requeue: bool) -> None:
        self.requeued += requeue


def queue(*requests: Waiting) -> deque[Any]:
    return deque((print, (request,), {}) for request in requests)


@pytest.fixture(autouse=True)
def run_times(monkeypatch: pytest.MonkeyPatch) -> RunTimes:
    times = RunTimes({"short": 0.001, "shorter": 0.0001, "long": 0.1})
    monkeypatch.setattr(bundle, "run_times", times)
    return times


@pytest.mark.parametrize(
    ("mean", "waiting", "slots", "expected"),
    [
        (None, 100, 2, 1),  # never seen: it may be long
        (0.006, 100, 2, 1),
        (0.004, 100, 2, 2),  # ten milliseconds of work
        (0.001, 100, 2, 10),
        (0.0, 100, 2, 16),
        (0.001, 5, 2, 3),  # every slot is to get its part
        (0.001, 5, 8, 1),
        (0.001, 0, 1, 1),
    ],
)
def test_about_ten_milliseconds_of_work_and_a_slots_part_of_it_go_together(
    mean: float | None, waiting: int, slots: int, expected: int
) -> None:
    assert size(mean, waiting, slots) == expected


def test_those_next_in_line_go_along_up_to_the_first_that_may_not() -> None:
    for barrier in (Waiting("long"), Waiting("unknown"), Waiting("short", can_be_bundled=False), object()):
        first, second, third, last = (Waiting(name) for name in ("short", "shorter", "short", "short"))
        waiting = queue(second, third, barrier, last)  # type: ignore[arg-type]
        assert take_along(first, waiting, 1) == [second, third]  # type: ignore[arg-type]
        assert [arguments[0] for _, arguments, _ in waiting] == [barrier, last]


def test_nobody_goes_with_one_that_must_be_alone() -> None:
    waiting = queue(Waiting("short"))
    for first in (Waiting("long"), Waiting("unknown"), Waiting("short", can_be_bundled=False)):
        assert take_along(first, waiting, 1) == []  # type: ignore[arg-type]
    assert len(waiting) == 1


def test_each_request_gets_its_own_end(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Waiting("short") for _ in range(3)]
    made = Bundle(requests)  # type: ignore[arg-type]
    Bundle.live.add(made)
    lost = exception_info(OSError("no database"))
    made._through([(0, "1", 0.1), lost, (0, "3", 0.1)])
    assert [one.succeeded_with for one in requests] == [(0, "1", 0.1), None, (0, "3", 0.1)]
    assert [type(one.failed_with) for one in requests] == [type(None), OSError, type(None)]
    assert made not in Bundle.live


def test_a_child_terminated_for_one_job_gives_the_others_back() -> None:
    asked, other = Waiting("short", is_terminating=True), Waiting("short")
    Bundle([other, asked])._lost(exception_info(Terminated(15)))  # type: ignore[list-item]
    assert (type(asked.failed_with), asked.is_released) == (Terminated, False)
    assert (type(other.failed_with), other.is_released) == (WorkerLostError, True)


def test_a_bundle_that_is_not_through_lets_go_of_its_messages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first, done, left = Waiting("short"), Waiting("short"), Waiting("short")
    done.acknowledged = True
    made = Bundle([first, done, left])  # type: ignore[list-item]
    monkeypatch.setattr(Bundle, "live", {made})
    bundle.let_go_of_the_stuck()
    assert left.requeued == 0
    made.sent_at -= 1.0
    bundle.let_go_of_the_stuck()
    bundle.let_go_of_the_stuck()
    assert (done.requeued, left.requeued, left.acknowledged) == (0, 1, True)
    # The slot is still taken: a broker must not send the next message for it.
    assert (first.requeued, first.acknowledged) == (0, False)


def test_the_mean_follows_what_the_task_takes_lately() -> None:
    times = RunTimes()
    times.note("t", 0.001)
    assert times["t"] == 0.001
    times.note("t", 1.0)
    assert size(times["t"], 100, 1) == 1
    for _ in range(50):
        times.note("t", 0.001)
    assert size(times["t"], 100, 1) > 1
