"""How close together due times can come, held against due times themselves."""

import datetime as dt
import itertools

import pytest

from taskyard.schedules import At, Cron, Every
from taskyard.schedules.recurrence import shortest_gap

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("* * * * *", MINUTE),
        ("*/7 * * * *", 4 * MINUTE),  # :56 and the next hour
        ("0 * * * *", HOUR),
        ("0,50 * * * *", 10 * MINUTE),
        ("0 0,23 * * *", HOUR),  # 23:00 and midnight
        ("0 0,23 * * MON", 23 * HOUR),
        ("0 0,23 * * MON,TUE", HOUR),
        ("0 8 * * *", DAY),
        ("0 8 * * MON", 7 * DAY),
        ("0 8 1 * *", 28 * DAY),
        ("0 8 L * *", 28 * DAY),
        ("0 8 1,L * *", DAY),
        ("0 8 29 2 *", 1461 * DAY),
        ("0 8 1 * FRI", DAY),  # a first of the month next to a Friday
        ("59 23 28,29 2 *", DAY),  # leap years only
        ("0 0 31 12 *", 365 * DAY),
        ("0 6 * * MON#5", 63 * DAY),
    ],
)
def test_the_gap_of_a_cron_is_the_least_there_is(expression: str, gap: dt.timedelta) -> None:
    assert shortest_gap(Cron(expression)) == gap
    start = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    dues = itertools.takewhile(
        lambda due: due.at.year < 2090, itertools.islice(Cron(expression).iter_from(start), 3_000)
    )
    seen = min(later.at - earlier.at for earlier, later in itertools.pairwise(dues))
    assert seen == gap


def test_a_day_is_a_day_also_where_clocks_change() -> None:
    assert shortest_gap(Cron("30 2 * * *", timezone="Europe/Berlin")) == DAY


def test_intervals_say_it_themselves_and_once_has_none() -> None:
    assert shortest_gap(Every(5 * MINUTE, phase=MINUTE)) == 5 * MINUTE
    assert shortest_gap(At(dt.datetime(2030, 1, 1, tzinfo=dt.UTC))) is None
