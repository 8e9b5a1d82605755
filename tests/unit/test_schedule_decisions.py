"""What becomes of due times that came to pass: pure rules."""

import datetime as dt

import pytest

from taskyard.schedules.decisions import ON_TIME, CatchUp, Rules, decide
from taskyard.schedules.recurrence import Due

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


def hourly(*hours_ago: float) -> list[Due]:
    ats = [NOW - HOUR * ago for ago in hours_ago]
    return [Due(at=at, nominal=at.replace(tzinfo=None), mark="") for at in ats]


def told(ago: list[float], rules: Rules, *, is_cut: bool = False) -> tuple[list[str], int]:
    verdicts, rest = decide(hourly(*ago), rules, now=NOW, is_cut=is_cut)
    return [verdict.decision.value for verdict in verdicts], len(rest)


@pytest.mark.parametrize("policy", list(CatchUp))
def test_what_is_at_most_a_minute_late_fires_under_every_policy(policy: CatchUp) -> None:
    exactly = ON_TIME / HOUR
    assert told([exactly, 0.001, 0], Rules(policy)) == (["fired"] * 3, 0)


def test_nothing_is_caught_up_unless_asked() -> None:
    assert told([26, 2, 1, 0], Rules(CatchUp.NONE)) == (["missed", "missed", "missed", "fired"], 0)


def test_one_run_stands_for_all_that_were_missed() -> None:
    assert told([26, 2, 1], Rules(CatchUp.ONE)) == (["coalesced", "coalesced", "fired"], 0)


def test_one_that_is_on_time_stands_for_those_before_it() -> None:
    assert told([26, 2, 0], Rules(CatchUp.ONE)) == (["coalesced", "coalesced", "fired"], 0)


def test_all_run_and_the_last_n_run() -> None:
    assert told([26, 2, 1], Rules(CatchUp.ALL)) == (["fired"] * 3, 0)
    assert told([26, 3, 2, 1], Rules(CatchUp.LAST_N, 2)) == (["coalesced", "coalesced", "fired", "fired"], 0)


@pytest.mark.parametrize("policy", [CatchUp.ONE, CatchUp.ALL, CatchUp.LAST_N])
def test_what_is_later_than_the_window_is_missed(policy: CatchUp) -> None:
    assert told([26, 5, 1], Rules(policy, 3, 2 * HOUR))[0] == ["missed", "missed", "fired"]


def test_where_more_follow_the_last_ones_are_left_to_the_next_turn() -> None:
    assert told([5, 4, 3], Rules(CatchUp.ONE), is_cut=True) == (["coalesced", "coalesced"], 1)
    assert told([5, 4, 3], Rules(CatchUp.LAST_N, 2), is_cut=True) == (["coalesced"], 2)
    assert told([5, 4, 3], Rules(CatchUp.ALL), is_cut=True) == (["fired"] * 3, 0)


def test_the_reason_says_how_late() -> None:
    [verdict], _ = decide(hourly(26), Rules(CatchUp.NONE), now=NOW)
    assert verdict.reason == "26 h late, and nothing is caught up"
