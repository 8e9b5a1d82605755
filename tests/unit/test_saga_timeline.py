"""Bars from a history: what ran, waited, was lost and was undone, and where each lies."""

import dataclasses
import datetime as dt

from taskyard.sagas.reading.timeline import Bar, BarKind, Timeline, timeline_of

START = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True)
class Line:
    at: dt.datetime
    what: str
    step: str = ""


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    state: str
    group: str = ""


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def drawn(state: str, *lines: tuple[float, str], until: float) -> Timeline:
    history = [Line(at(seconds), what, "" if what == "turned_round" else "pay") for seconds, what in lines]
    return timeline_of([Step("pay", state)], history, start=START, end=at(until))


def bars(timeline: Timeline) -> list[tuple[str, str]]:
    return [(bar.kind.value, bar.ended) for bar in timeline.lanes[0].bars]


def test_an_attempt_that_was_lost_or_failed_is_followed_by_the_wait_for_the_next() -> None:
    line = drawn("succeeded", (0, "started"), (1, "lost"), (1, "started"), (2, "retrying"), (5, "started"),
                 (6, "succeeded"), until=6)  # fmt: skip
    assert bars(line) == [
        ("lost_attempt", "lost"), ("lost_attempt", "retrying"), ("waiting", ""), ("forward", "succeeded"),
    ]  # fmt: skip


def test_whoever_waited_when_the_saga_turned_round_waits_no_more() -> None:
    line = drawn("pending", (0, "waiting"), (3, "turned_round"), until=9)
    assert line.lanes[0].bars == (Bar(BarKind.WAITING, at(0), at(3)),)


def test_a_lost_compensation_is_a_lost_attempt_and_the_next_one_goes_on() -> None:
    line = drawn("compensating", (0, "compensating"), (1, "lost"), (1, "compensating"), until=4)
    assert line.lanes[0].bars[1:] == (Bar(BarKind.COMPENSATION, at(1), None),)
    assert bars(line)[0] == ("lost_attempt", "lost")


def test_a_long_wait_takes_half_the_room_of_the_work_and_moments_lie_between_their_edges() -> None:
    line = drawn("succeeded", (0, "started"), (4, "retrying"), (86_400, "started"), (86_404, "succeeded"), until=86_404)
    assert line.is_squeezed
    places = [round(line.place(moment), 2) for moment in (at(0), at(2), at(4), at(86_400), at(86_402), None)]
    assert places == [0.0, 0.17, 0.33, 0.67, 0.83, 1.0]


def test_where_nobody_worked_and_where_nothing_happened_yet_the_scale_is_even() -> None:
    line = drawn("waiting", (0, "waiting"), until=10)
    assert (line.is_squeezed, line.place(at(5))) == (False, 0.5)
    assert timeline_of([], [], start=START, end=START).place(START) == 1.0
