"""When to try again, how much to publish, what a lost worker means: rules without a clock and without rows."""

import datetime as dt

import pytest

from taskyard.execution.outcome import Failed, RetryAt, Trouble, lost
from taskyard.jobs.states import FINAL, UNFINISHED, State
from taskyard.outbox.sweep import overdue_after
from taskyard.outbox.window import Demand, least, next_rate, target
from taskyard.tasks.retry import NO_RETRY, RetryPolicy

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def seconds(count: float) -> dt.timedelta:
    return dt.timedelta(seconds=count)


# -- RetryPolicy


@pytest.mark.parametrize(
    ("retry", "wait"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 600), (6, 600), (500, 600), (10**9, 600)]
)
def test_the_wait_doubles_up_to_its_cap(retry: int, wait: int) -> None:
    assert RetryPolicy(jitter=False).wait(retry, 0.7) == seconds(wait)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 30), (0.5, 45), (0.999, 59.97)])
def test_jitter_takes_between_half_and_all_of_the_wait(chance: float, wait: float) -> None:
    assert RetryPolicy().wait(1, chance) == seconds(wait)


@pytest.mark.parametrize("retry", [1, 20, 21, 64, 10**6])
def test_no_number_of_retries_overflows_a_long_wait(retry: int) -> None:
    policy = RetryPolicy(backoff=dt.timedelta(days=3000), backoff_max=dt.timedelta.max, jitter=False)
    assert dt.timedelta(days=3000) <= policy.wait(retry, 0.0) <= dt.timedelta.max


def test_no_backoff_is_no_wait() -> None:
    assert RetryPolicy(backoff=seconds(0)).wait(9, 0.5) == seconds(0)


@pytest.mark.parametrize(
    ("error", "is_wanted"),
    [(ConnectionError(), True), (ConnectionResetError(), True), (KeyError(), False), (SystemExit(), False)],
)
def test_a_policy_wants_its_errors_and_their_subclasses(error: BaseException, is_wanted: bool) -> None:
    assert RetryPolicy(on=(ConnectionError, TimeoutError)).wants(error) is is_wanted


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert NO_RETRY.max_retries == 0
    assert not NO_RETRY.wants(Exception())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on": ConnectionError}, "takes a tuple of exception classes"),
        ({"on": ("ConnectionError",)}, "takes a tuple of exception classes"),
        ({"max_retries": -1}, "cannot be negative"),
        ({"backoff": seconds(-1)}, "cannot be negative"),
        ({"backoff_max": seconds(-1)}, "cannot be negative"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        RetryPolicy(**options)  # type: ignore[arg-type]


# -- the window


@pytest.mark.parametrize(
    ("slots", "rate", "messages"),
    [
        (0, 0, 10),  # nobody is there yet
        (0, 500, 10),
        (1, 0, 1),  # one per slot
        (8, 0, 8),
        (8, 16, 8),  # jobs of half a second
        (8, 40, 20),  # half a second of work is more than two per slot
        (4, 17, 8),  # jobs of less than 250 ms: two per slot, so that none waits for the next message
        (4, 16, 8),
        (4, 15, 8),
        (1, 3, 2),
        (100, 1e6, 1000),  # never more than allowed
        (5000, 0, 1000),
    ],
)
def test_the_window_is_about_half_a_second_of_work(slots: int, rate: float, messages: int) -> None:
    assert target(Demand(slots, rate), unattended=10, most=1000) == messages


def test_the_window_is_never_empty_and_never_above_its_limit() -> None:
    assert target(Demand(0, 0), unattended=10, most=3) == 3
    assert target(Demand(1, 0.0), unattended=0, most=1) == 1


@pytest.mark.parametrize(("queued", "room"), [(0, 0), (1, 0), (2, 0), (3, 1), (300, 100)])
def test_a_window_is_filled_by_thirds_and_a_small_one_at_once(queued: int, room: int) -> None:
    assert least(queued) == room


@pytest.mark.parametrize(
    ("rate", "taken", "elapsed", "ran_dry", "after"),
    [
        (10, 0, 0, False, 10),  # no time has passed
        (10, 5, -1, False, 10),  # the clock went back
        (10, 20, 1, False, 15),  # the mean of old and new
        (10, 0, 1, False, 5),
        (10, 5, 1, True, 20),  # empty: all that is known is that it could be faster
        (10, 50, 1, True, 50),
        (10, 0, 1, True, 5),  # empty and nothing taken: there was nothing to do
        (0, 5, 0.5, True, 10),
        (0, 1, 0.01, True, 4),  # one in a moment is not a hundred a second
        (10, 5, 0.1, False, 10),  # too short to tell
    ],
)
def test_the_measured_rate(rate: float, taken: int, elapsed: float, ran_dry: bool, after: float) -> None:
    assert next_rate(rate, taken, elapsed, ran_dry=ran_dry) == after


# -- the sweep


@pytest.mark.parametrize(
    ("publishes", "is_idle", "wait"),
    [
        (0, False, 10), (1, False, 10), (2, False, 20), (3, False, 40), (7, False, 600), (32000, False, 600),
        (1, True, 10), (2, True, 20), (4, True, 60), (32000, True, 60),
    ],
)  # fmt: skip
def test_a_message_is_published_again_later_each_time(publishes: int, is_idle: bool, wait: int) -> None:
    assert overdue_after(publishes, base=seconds(10), has_idle_slots=is_idle) == seconds(wait)


def test_a_base_above_the_longest_wait_is_kept() -> None:
    hour = dt.timedelta(hours=1)
    assert overdue_after(5, base=hour, has_idle_slots=True) == hour


# -- who died


@pytest.mark.parametrize("crashes", [0, 2, 99])
def test_a_killed_worker_spends_nothing_of_its_jobs(crashes: int) -> None:
    trouble = Trouble("WorkerLost")
    assert lost(trouble, crashes=crashes, is_crash=False, poison_after=3, now=NOW) == RetryAt(
        NOW, trouble, counts=False
    )


@pytest.mark.parametrize(("crashes", "wait"), [(0, 1), (1, 2)])
def test_a_killed_child_is_tried_again_after_a_while_that_doubles(crashes: int, wait: int) -> None:
    outcome = lost(Trouble("WorkerLost"), crashes=crashes, is_crash=True, poison_after=3, now=NOW)
    assert isinstance(outcome, RetryAt)
    assert (outcome.at, outcome.counts, outcome.is_crash) == (NOW + seconds(wait), False, True)


@pytest.mark.parametrize(("crashes", "poison_after"), [(2, 3), (3, 3), (0, 1)])
def test_a_job_that_kills_its_children_is_quarantined(crashes: int, poison_after: int) -> None:
    outcome = lost(
        Trouble("WorkerLost", "gone", "child-lost"), crashes=crashes, is_crash=True, poison_after=poison_after, now=NOW
    )
    assert outcome == Failed(Trouble("WorkerLost", "gone", "poison"))


# -- states


def test_each_state_is_final_or_unfinished() -> None:
    assert set(State) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED
    assert {str(state) for state in FINAL} == {"succeeded", "failed", "cancelled"}


def test_the_names_of_states_are_those_that_are_stored() -> None:
    assert [str(state) for state in State] == [
        "pending", "queued", "running", "waiting", "retrying", "succeeded", "failed", "cancelled"
    ]  # fmt: skip
