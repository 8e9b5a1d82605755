"""Whether a process moves, told from its row alone."""

import dataclasses
import datetime as dt
import uuid
from typing import Any

import pytest

from taskyard.monitoring.moving import Process, troubles
from taskyard.runtime.ticks import Tick

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def tick(late: float, *, failures: int = 0) -> Tick:
    """Of an agent that is so many seconds late when the heartbeat is written."""
    return Tick(NOW - (late + 1) * SECOND, NOW - late * SECOND, failures)


def process(**values: Any) -> Process:
    return Process(
        **{
            "id": uuid.uuid4(),
            "role": "worker",
            "name": "w@h",
            "host": "h",
            "pid": 1,
            "queues": ("celery",),
            "slots": 2,
            "version": "1",
            "started_at": NOW - dt.timedelta(hours=1),
            "heartbeat_at": NOW,
            "agents": {"feeder": tick(0), "consumer": tick(0)},
            **values,
        }
    )


def judged(one: Process, *, now: dt.datetime = NOW, **said: Any) -> list[str]:
    return troubles(one, now, silent_after=20 * SECOND, stalled_after=60 * SECOND, **said)


def test_a_process_whose_threads_turn_moves_whatever_its_turns_end_in() -> None:
    assert judged(process()) == []
    assert judged(process(agents={"feeder": tick(59, failures=99), "pruner": tick(-60)})) == []
    assert judged(process(agents={})) == []


def test_a_process_without_a_heartbeat_does_not_move() -> None:
    silent = process()
    assert judged(silent, now=NOW + 20 * SECOND) == []
    [says] = judged(silent, now=NOW + 21 * SECOND)
    assert says.startswith("no heartbeat for 21 s")
    assert judged(dataclasses.replace(silent, stopping_at=NOW), now=NOW + 21 * SECOND) == [says]


def test_a_thread_that_does_not_come_out_of_its_turn_is_named_though_the_heartbeat_beats() -> None:
    stuck = process(agents={"feeder": tick(61), "rescuer": tick(0), "consumer": tick(75)})
    assert judged(stuck) == [
        "its feeder's thread is stuck: its turn should have ended 1 min 1 s ago",
        "its event loop is stuck: its turn should have ended 1 min 15 s ago",
    ]
    # An old heartbeat has old ticks: they are no later than they were.
    assert len(judged(dataclasses.replace(stuck, heartbeat_at=NOW - 2 * SECOND))) == 1
    assert judged(stuck, agents=("feeder",)) == judged(stuck)[:1]
    assert judged(stuck, agents=("rescuer",)) == []
    assert judged(dataclasses.replace(stuck, stopping_at=NOW)) == []


def test_a_worker_that_tries_to_connect_has_no_event_loop_to_turn() -> None:
    away = process(agents={"consumer": tick(600)}, is_connecting=True)
    assert judged(away) == []
    assert judged(away, is_waited_for=True) == []


@pytest.mark.parametrize(
    ("values", "moves"),
    [
        ({}, False),
        ({"claimed_at": NOW - 181 * SECOND}, False),
        ({"claimed_at": NOW - 180 * SECOND}, True),
        ({"started_at": NOW - 10 * SECOND}, True),
        ({"in_hand": 2}, True),
        ({"in_hand": 1}, False),
        ({"role": "scheduler"}, True),
    ],
)
def test_a_worker_with_free_slots_that_leaves_jobs_alone_does_not_move(values: dict[str, Any], moves: bool) -> None:
    one = process(**values)
    assert judged(one) == [], "without a job to begin it is well"
    assert (judged(one, is_waited_for=True) == []) is moves
