"""Cron in every zone for ten years, against somebody who looks at the clock once a minute."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard.errors import InvalidRecurrence
from taskyard.schedules.recurrence import Cron, explain, recurrence_from_json

ZONES = sorted(zone for zone in available_timezones() if zone != "Factory")
FIRST, LAST = dt.datetime(2018, 1, 1, tzinfo=dt.UTC), dt.datetime(2028, 1, 1, tzinfo=dt.UTC)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
#: Longer than any clock was set forward or back in these years.
AROUND = 4 * HOUR

Matches = Callable[[dt.datetime], bool]


class Change(NamedTuple):
    """The first instant at which a zone's clocks are set differently."""

    at: dt.datetime
    before: dt.timedelta
    after: dt.timedelta


@lru_cache
def changes(zone: str) -> list[Change]:
    """All of them in the ten years, looked for once a week."""
    found, step = [], dt.timedelta(days=7)
    low = FIRST
    while low < LAST:
        if offset(low, zone) != offset(low + step, zone):
            found.append(change_between(low, low + step, zone))
        low += step
    return found


def change_between(low: dt.datetime, high: dt.datetime, zone: str) -> Change:
    before, after = offset(low, zone), offset(high, zone)
    while high - low > MINUTE:
        middle = low + (high - low) // (2 * MINUTE) * MINUTE
        low, high = (middle, high) if offset(middle, zone) == before else (low, middle)
    return Change(high, before, after)


def offset(moment: dt.datetime, zone: str) -> dt.timedelta:
    return moment.astimezone(ZoneInfo(zone)).utcoffset() or dt.timedelta(0)


# ------------------------------------------------------------------------------- random expressions


def numbers(random: random.Random, low: int, high: int) -> tuple[str, set[int]]:
    """A field and the numbers it means, by the rules of Debian's cron."""
    every = range(low, high + 1)
    # Two different ones: "5-5/2" is "5/2" to cronsim.
    first, second = sorted(random.sample(every, 2))
    step = random.randint(1, 10)
    return random.choice(
        [
            ("*", set(every)),
            (f"*/{step}", set(every[::step])),
            (f"{first}", {first}),
            (f"{first},{second}", {first, second}),
            (f"{first}-{second}", set(range(first, second + 1))),
            (f"{first}/{step}", set(range(first, high + 1, step))),
            (f"{first}-{second}/{step}", set(range(first, second + 1, step))),
        ]
    )


def days_of_month(random: random.Random) -> tuple[str, Matches]:
    if random.random() < 0.1:
        return "L", lambda wall: (wall + dt.timedelta(days=1)).day == 1
    text, days = numbers(random, 1, 31) if random.random() < 0.3 else ("*", set(range(1, 32)))
    return text, lambda wall: wall.day in days


def days_of_week(random: random.Random) -> tuple[str, Matches]:
    """Sunday is 0 and 7."""
    kind = random.random()
    day = random.randint(0, 6)
    name = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"][day]
    if kind < 0.1:
        return (
            f"{day}L",
            lambda wall: wall.isoweekday() % 7 == day and (wall + dt.timedelta(days=7)).month != wall.month,
        )
    if kind < 0.2:
        nth = random.randint(1, 5)
        return f"{name}#{nth}", lambda wall: wall.isoweekday() % 7 == day and (wall.day - 1) // 7 + 1 == nth
    if kind < 0.3:
        return name.lower(), lambda wall: wall.isoweekday() % 7 == day
    text, days = numbers(random, 0, 7) if kind < 0.5 else ("*", set(range(8)))
    return text, lambda wall: bool({wall.isoweekday(), wall.isoweekday() % 7} & days)


def expression(random: random.Random) -> tuple[str, Matches]:
    """Five fields, and whether they mean a wall-clock time; hours of the night more often, where clocks change."""
    minute, minutes = numbers(random, 0, 59)
    hour, hours = numbers(random, 0, random.choice([4, 23]))
    if hour.startswith("*") or "/" in hour:
        hour, hours = numbers(random, 0, 23)
    month, months = numbers(random, 1, 12) if random.random() < 0.2 else ("*", set(range(1, 13)))
    day, is_day = days_of_month(random)
    weekday, is_weekday = days_of_week(random)
    both = all if day.startswith("*") or weekday.startswith("*") else any

    def matches(wall: dt.datetime) -> bool:
        is_time = wall.minute in minutes and wall.hour in hours and wall.month in months
        return is_time and both([is_day(wall), is_weekday(wall)])

    return f"{minute} {hour} {day} {month} {weekday}", matches


def some_cron(random: random.Random, zone: str) -> tuple[Cron, Matches]:
    while True:
        text, matches = expression(random)
        gap = random.choice(["next_valid", "skip", "same_offset"])
        fold = random.choice([None, "first", "last", "both"])
        try:
            return Cron(text, timezone=zone, gap=gap, fold=fold), matches
        except InvalidRecurrence:  # never due
            continue


# ------------------------------------------------------------------------------------- the clock


def watched(cron: Cron, matches: Matches, start: dt.datetime, end: dt.datetime) -> dict[dt.datetime, str]:
    """What is due later than ``start`` and until ``end``, with its mark, by looking at the clock once a minute.

    Nothing may be set forward or back within a jump's length of either end.
    """
    zone = ZoneInfo(cron.timezone)
    shown = [(moment, moment.astimezone(zone).replace(tzinfo=None, fold=0)) for moment in minutes_between(start, end)]
    times = Counter(wall for _, wall in shown)
    due: dict[dt.datetime, str] = {}
    passes: Counter[dt.datetime] = Counter()
    for (earlier, wall_before), (moment, wall) in pairwise(shown):
        for number, skipped in enumerate(minutes_between(wall_before + MINUTE, wall - MINUTE)):
            at = {"next_valid": moment, "same_offset": earlier + (number + 1) * MINUTE}.get(cron.gap)
            if at and matches(skipped):
                due.setdefault(at, "gap")
        passes[wall] += 1
        wanted = {"first": {1}, "last": {times[wall]}, "both": {1, 2}}[str(cron.fold)]
        if matches(wall) and passes[wall] in wanted:
            due[moment] = "fold" if times[wall] > 1 else ""
    return due


def minutes_between(first: dt.datetime, last: dt.datetime) -> Iterator[dt.datetime]:
    while first <= last:
        yield first
        first += MINUTE


def agrees_with_the_clock(cron: Cron, matches: Matches, start: dt.datetime, end: dt.datetime) -> None:
    seen = watched(cron, matches, start, end)
    dues = cron.between(start, end)
    assert {due.at: due.mark for due in dues} == seen, (cron, start)
    assert [due.at for due in dues] == sorted(seen), (cron, start)
    assert dues == cron.next(len(dues), start)
    for due in dues:
        assert matches(due.nominal), (cron, due)
        local = due.at.astimezone(ZoneInfo(cron.timezone))
        assert due.mark == "gap" or (local.replace(tzinfo=None), local.fold) == (due.nominal, due.nominal.fold)


def test_no_change_of_any_zone_in_ten_years_loses_doubles_or_misplaces_a_due_time() -> None:
    # Of zones that are set alike at the same instant one is looked at, a different one each time.
    places: dict[Change, list[str]] = {}
    for zone in ZONES:
        for change in changes(zone):
            places.setdefault(change, []).append(zone)
    assert len(places) > 300

    for number, (change, zones) in enumerate(sorted(places.items())):
        dice = random.Random(number)
        for _ in range(3):
            cron, matches = some_cron(dice, dice.choice(zones))
            agrees_with_the_clock(cron, matches, change.at - AROUND, change.at + AROUND)


@settings(deadline=None, max_examples=150)
@given(dice=st.randoms(use_true_random=False), zone=st.sampled_from(ZONES), hours=st.integers(0, 10 * 365 * 24))
def test_a_random_expression_in_any_zone_does_what_a_clock_read_each_minute_does(
    dice: random.Random, zone: str, hours: int
) -> None:
    cron, matches = some_cron(dice, zone)
    near = min((change.at for change in changes(zone)), key=lambda at: abs(at - FIRST - hours * HOUR), default=None)
    middle = near if near and dice.random() < 0.5 else FIRST + hours * HOUR
    # Not so near that a jump would cross the end of what is looked at.
    if all(abs(change.at - edge) > AROUND for change in changes(zone) for edge in (middle - AROUND, middle + AROUND)):
        agrees_with_the_clock(cron, matches, middle - AROUND, middle + AROUND)

    assert recurrence_from_json(cron.to_json()) == cron
    assert explain(cron)


@settings(deadline=None, max_examples=100)
@given(dice=st.randoms(use_true_random=False), zone=st.sampled_from(ZONES), minutes=st.integers(0, 10 * 365 * 24 * 60))
def test_years_of_due_times_rise_and_each_question_about_them_has_the_same_answer(
    dice: random.Random, zone: str, minutes: int
) -> None:
    cron, matches = some_cron(dice, zone)
    start = FIRST + minutes * MINUTE
    dues = cron.next(60, start)

    assert all(earlier.at < later.at for earlier, later in pairwise(dues))
    assert all(due.at > start and matches(due.nominal) for due in dues)
    if dues:
        assert cron.between(start, dues[-1].at) == dues
        assert cron.between(start, dues[-1].at - MINUTE) == dues[:-1]
        asked_from = dice.randrange(len(dues))
        assert cron.next(59 - asked_from, dues[asked_from].at) == dues[asked_from + 1 :]


AT_FULL_HOURS = ["Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "Australia/Sydney"]


def test_cronsim_itself_agrees_where_its_policy_is_ours() -> None:
    # It gives fixed times next_valid and first, and leaves intervals to the clock: skip and both. Where clocks change
    # at midnight (Santiago) or not at a full hour (Chatham), cronsim 2.8 loses times after the gap; here it is asked
    # for wall-clock times only, so ours does not.
    for number, zone in enumerate(AT_FULL_HOURS):
        dice = random.Random(number)
        for change in changes(zone):
            cron, _ = some_cron(dice, zone)
            minute, hour, *_ = cron.expression.split()
            is_interval = minute.startswith("*") or hour.startswith("*")
            policy = {"gap": "skip", "fold": "both"} if is_interval else {"gap": "next_valid", "fold": "first"}
            cron = Cron(cron.expression, timezone=zone, **policy)

            start = change.at - dt.timedelta(days=2)
            theirs = CronSim(cron.expression, start.astimezone(ZoneInfo(zone)))
            wanted = list(dict.fromkeys(moment.astimezone(dt.UTC) for moment in islice(theirs, 60)))[:30]
            assert [due.at for due in cron.next(len(wanted), start)] == wanted, (cron, start)
