"""Recurrences as values: what is accepted, what is refused in which words, and what they say of themselves."""

import ast
import dataclasses
import datetime as dt
import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskyard.schedules
from taskyard.errors import InvalidRecurrence, TaskyardError
from taskyard.schedules import recurrence
from taskyard.schedules.recurrence import (
    At,
    Bounds,
    Calendar,
    Cron,
    Due,
    Every,
    bounds_from_json,
    calendar_from_json,
    explain,
    offset_in,
    recurrence_from_json,
)

UTC = dt.UTC
NOW = dt.datetime(2027, 1, 1, tzinfo=UTC)
MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
BERLIN = "Europe/Berlin"


def ats(dues: list[Due]) -> list[str]:
    return [f"{due.at:%Y-%m-%d %H:%M}" for due in dues]


# ---------------------------------------------------------------------------------------- cron


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("30 2 * * *", ["2027-01-01 02:30", "2027-01-02 02:30"]),
        ("0 9 * * mon-fri", ["2027-01-01 09:00", "2027-01-04 09:00"]),
        ("0 9 1 jan,jul *", ["2027-01-01 09:00", "2027-07-01 09:00"]),
        ("0 0 L * *", ["2027-01-31 00:00", "2027-02-28 00:00"]),
        ("0 0 LW * *", ["2027-01-29 00:00", "2027-02-26 00:00"]),
        ("0 0 * * 5L", ["2027-01-29 00:00", "2027-02-26 00:00"]),
        ("0 0 * * MON#2", ["2027-01-11 00:00", "2027-02-08 00:00"]),
        ("0 0 * * 7", ["2027-01-03 00:00", "2027-01-10 00:00"]),
        ("5/20 8 * * *", ["2027-01-01 08:05", "2027-01-01 08:25", "2027-01-01 08:45", "2027-01-02 08:05"]),
        # Either day if none begins with a star, both otherwise: Debian's rule.
        ("0 0 4 * FRI", ["2027-01-04 00:00", "2027-01-08 00:00", "2027-01-15 00:00"]),
        ("0 0 */2 * MON", ["2027-01-11 00:00", "2027-01-25 00:00"]),
        ("@hourly", ["2027-01-01 01:00", "2027-01-01 02:00"]),
        ("@daily", ["2027-01-02 00:00", "2027-01-03 00:00"]),
        ("@midnight", ["2027-01-02 00:00", "2027-01-03 00:00"]),
        ("@Weekly", ["2027-01-03 00:00", "2027-01-10 00:00"]),
        ("@monthly", ["2027-02-01 00:00", "2027-03-01 00:00"]),
        ("@yearly", ["2028-01-01 00:00", "2029-01-01 00:00"]),
        (" @annually ", ["2028-01-01 00:00", "2029-01-01 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ],
)
def test_five_fields_names_last_nth_and_aliases_are_understood(expression: str, wanted: list[str]) -> None:
    assert ats(Cron(expression).next(len(wanted), NOW)) == wanted


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "minute '61': 61 is out of range; minute takes 0 to 59"),
        ("0 5,24 * * *", "hour '5,24': 24 is out of range; hour takes 0 to 23"),
        ("0 0 0 * *", "day of month '0': 0 is out of range"),
        ("0 0 * 13 *", "month '13': 13 is out of range; month takes 1 to 12 or JAN to DEC"),
        ("0 0 * * 8", "day of week '8': 8 is out of range"),
        ("x * * * *", "minute 'X': 'X' cannot be read"),
        ("1,,2 * * * *", "minute '1,,2': an entry is empty"),
        ("*/0 * * * *", "a step is a number above zero"),
        ("0 22-2 * * *", "hour '22-2': a range cannot run backwards; write 22-23,0-2"),
        ("0 0 * NOV-FEB *", "write NOV-12,1-FEB"),
        ("0 0 * * MONDAY", "there is no day of week MONDAY; did you mean MON"),
        ("0 0 * JUNI *", "there is no month JUNI; did you mean JUN"),
        ("0 0 * * FRIL", "the last FRI of a month is written 5L"),
        ("0 0 15W * *", "W (the weekday nearest to a date) is not supported"),
        ("0 0 L-3 * *", "days before the last one cannot be counted"),
        ("H H * * *", "H (a time chosen by hash) is not supported"),
        ("H(0-29)/10 * * * *", "H (a time chosen by hash) is not supported"),
        ("0 0 ? * MON", "write *"),
        ("* * * *", "4 fields where five are wanted: minute, hour, day of month, month, day of week"),
        ("", "0 fields where five are wanted"),
        ("0 30 2 * * *", "six fields; Taskyard takes five"),
        ("0 30 2 * * * 2027", "7 fields where five are wanted"),
        ("@reboot", "@reboot is no time; enqueue the task where your program starts"),
        ("@every 5m", "it is written Every(timedelta(...))"),
        ("@dayly", "there is no such alias; did you mean @daily"),
        ("0 0 31 2 *", "no date matches all of it, so it would never be due"),
        ("0 0 30,31 FEB *", "it would never be due"),
        ("0 0 31 4,6,9,11 *", "it would never be due"),
        # The 1st, 16th and 31st are never the second Monday, and no single field says so.
        ("0 0 */15 * MON#2", "it would never be due"),
        ("1" * 5_000 + " * * * *", "at most 500 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_field_and_the_reason(expression: str, says: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        Cron(expression)
    assert says in str(refused.value)
    assert isinstance(refused.value, (TaskyardError, ValueError))


@pytest.mark.parametrize("backwards", ["22-23,0-2", "0-3"])
def test_what_a_refusal_proposes_is_accepted(backwards: str) -> None:
    assert Cron(f"0 {backwards} * * *")
    assert Cron("0 0 * NOV-12,1-FEB *")
    assert Cron("0 0 * * FRI-6,0-SUN")


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("europe/berlin", "did you mean 'Europe/Berlin'"),
        ("Berlin", "'Europe/Berlin'"),
        ("New York", "'America/New_York'"),
        ("Europe", "there is no such zone"),
        ("../../etc/passwd", "there is no such zone"),
        ("", "there is no such zone"),
        ("localtime", "there is no such zone"),
        ("right/Europe/Berlin", "'Europe/Berlin'"),
        ("Z\0", "there is no such zone"),
    ],
)
def test_an_unknown_zone_is_refused_with_names_like_it(zone: str, says: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        Cron("0 0 * * *", timezone=zone)
    assert says in str(refused.value)


@pytest.mark.parametrize("policy", [{"gap": "shift"}, {"fold": "second"}, {"gap": None}])
def test_an_unknown_policy_is_refused_with_those_there_are(policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecurrence, match=r"it must be one of (next_valid|first), "):
        Cron("0 0 * * *", **policy)


@pytest.mark.parametrize(
    ("expression", "fold"),
    [
        ("30 2 * * *", "first"),
        ("0,30 1-3 * * *", "first"),
        ("*/30 * * * *", "both"),
        ("* * * * *", "both"),
        ("30 * * * *", "both"),
        ("0 */2 * * *", "both"),
        ("*/10 2 * * *", "both"),
        ("0 1/2 * * *", "both"),
        ("@hourly", "both"),
        ("@daily", "first"),
    ],
)
def test_a_repeated_time_runs_once_at_a_fixed_time_and_twice_at_an_interval(expression: str, fold: str) -> None:
    assert Cron(expression, timezone=BERLIN).fold == fold


def test_spellings_of_the_same_cron_are_equal() -> None:
    assert Cron("@daily") == Cron(" 0  0 * * * ", timezone="UTC", gap="next_valid", fold="first")
    assert Cron("0 9 * * mon") == Cron("0 9 * * MON")
    assert len({Cron("@daily"), Cron("0 0 * * *"), Cron("0 0 * * *", timezone=BERLIN)}) == 2


@pytest.mark.parametrize("after", [dt.datetime.min, dt.datetime.max])
def test_the_ends_of_time_are_no_error(after: dt.datetime) -> None:
    for one in (Cron("0 0 * * *", timezone="America/New_York"), Every(DAY), At(NOW)):
        assert len(one.next(3, after.replace(tzinfo=UTC))) in (0, 1, 3)


def test_a_sparse_one_ends_where_time_does() -> None:
    dues = list(Cron("0 8 29 2 *").iter_from(dt.datetime(9980, 1, 1, tzinfo=dt.UTC)))
    assert [due.at.year for due in dues] == [9980, 9984, 9988, 9992, 9996]


def test_a_time_that_clocks_skip_whenever_it_comes_is_never_due_and_refused() -> None:
    with pytest.raises(InvalidRecurrence, match="clocks of Europe/Berlin skip it each time"):
        Cron("30 2 * 3 0L", timezone=BERLIN, gap="skip")
    # Tehran's clocks do not change any more.
    assert Cron("30 0 22 3 *", timezone="Asia/Tehran", gap="skip")


# --------------------------------------------------------------------------------- every and at


def test_every_counts_from_the_epoch_and_its_phase() -> None:
    every = Every(15 * MINUTE, phase=5 * MINUTE)
    assert ats(every.next(3, NOW)) == ["2027-01-01 00:05", "2027-01-01 00:20", "2027-01-01 00:35"]
    assert ats(every.next(1, NOW + 5 * MINUTE)) == ["2027-01-01 00:20"]
    assert ats(every.next(1, NOW + 5 * MINUTE - dt.timedelta(microseconds=1))) == ["2027-01-01 00:05"]
    assert ats(Every(7 * DAY).next(2, dt.datetime(1969, 12, 20, tzinfo=UTC))) == [
        "1969-12-25 00:00",
        "1970-01-01 00:00",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((dt.timedelta(0),), "one second or more"),
        ((-MINUTE,), "one second or more"),
        ((dt.timedelta(milliseconds=1_500),), "whole seconds"),
        ((60,), "whole seconds"),
        ((MINUTE, MINUTE), "less than the interval"),
        ((MINUTE, -MINUTE), "at least zero"),
    ],
)
def test_an_interval_that_means_nothing_is_refused(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidRecurrence, match=says):
        Every(*arguments)


def test_at_is_due_once_and_kept_in_utc() -> None:
    at = At(dt.datetime(2027, 2, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=1))))
    assert at == At(dt.datetime(2027, 2, 1, 7, tzinfo=UTC))
    assert at.next(5, NOW) == [Due(dt.datetime(2027, 2, 1, 7, tzinfo=UTC), dt.datetime(2027, 2, 1, 7), "")]
    assert at.next(5, at.at) == []


@pytest.mark.parametrize("moment", [dt.datetime(2027, 2, 1), dt.date(2027, 2, 1), "2027-02-01", None])
def test_a_time_without_a_zone_is_refused(moment: Any) -> None:
    with pytest.raises(InvalidRecurrence, match="a datetime with a time zone"):
        At(moment)
    with pytest.raises(InvalidRecurrence, match=r"after=.*a datetime with a time zone"):
        Every(MINUTE).next(1, moment)
    with pytest.raises(InvalidRecurrence, match=r"until=.*a datetime with a time zone"):
        Every(MINUTE).between(NOW, moment)


# ------------------------------------------------------------------------------- every recurrence

SOME = [Cron("*/20 * * * *", timezone=BERLIN), Cron("30 2 * * *"), Every(20 * MINUTE, phase=MINUTE), At(NOW + MINUTE)]


@pytest.mark.parametrize("one", SOME, ids=repr)
def test_between_and_next_and_the_iterator_agree(one: recurrence.Recurrence) -> None:
    dues = one.next(1_000, NOW)
    assert list(islice(one.iter_from(NOW), 1_000)) == dues
    assert one.between(NOW, dues[-1].at) == dues
    assert one.between(NOW, dues[-1].at, limit=7) == dues[:7]
    assert one.between(NOW, NOW) == []
    assert one.next(0, NOW) == []


@pytest.mark.parametrize("n", [1_001, -1, True, 1.0, None])
def test_more_than_a_thousand_due_times_cannot_be_asked_for(n: Any) -> None:
    with pytest.raises(InvalidRecurrence, match="from 0 to 1,000"):
        Cron("* * * * *").next(n, NOW)
    with pytest.raises(InvalidRecurrence, match="from 0 to 1,000"):
        Every(MINUTE).between(NOW, NOW + DAY, limit=n)


@pytest.mark.parametrize("one", SOME, ids=repr)
def test_a_recurrence_is_a_value(one: recurrence.Recurrence) -> None:
    copy = recurrence_from_json(json.loads(json.dumps(one.to_json())))
    assert copy == one
    assert hash(copy) == hash(one)
    assert copy.to_json() == one.to_json()
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, dataclasses.fields(one)[0].name, None)


def test_the_stored_form_is_stable() -> None:
    assert Cron("@daily", timezone=BERLIN).to_json() == {
        "kind": "cron", "expression": "0 0 * * *", "timezone": "Europe/Berlin", "gap": "next_valid", "fold": "first",
    }  # fmt: skip
    assert Every(15 * MINUTE, phase=5 * MINUTE).to_json() == {"kind": "every", "seconds": 900, "phase_seconds": 300}
    assert At(NOW).to_json() == {"kind": "at", "at": "2027-01-01T00:00:00+00:00"}


def test_what_has_a_default_may_be_left_out_of_the_stored_form() -> None:
    assert recurrence_from_json({"kind": "cron", "expression": "@daily", "fold": None}) == Cron("@daily")
    assert recurrence_from_json({"kind": "every", "seconds": 60}) == Every(MINUTE)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, 'an object with "kind": "cron", "every" or "at"; it is None'),
        ([], 'an object with "kind"'),
        ({}, 'an object with "kind"'),
        ({"kind": "solar"}, 'an object with "kind"'),
        ({"kind": ["cron"]}, 'an object with "kind"'),
        ({"kind": "cron"}, "'expression' is missing"),
        ({"kind": "cron", "expression": 5}, "'expression' must be a string; it is 5"),
        ({"kind": "cron", "expression": "@daily", "time_zone": "UTC"}, "did you mean 'timezone'"),
        ({"kind": "cron", "expression": "61 * * * *"}, "minute '61'"),
        ({"kind": "cron", "expression": "@daily", "gap": "x"}, "it must be one of next_valid"),
        ({"kind": "every", "seconds": True}, "'seconds' must be a whole number; it is True"),
        ({"kind": "every", "seconds": 1.5}, "'seconds' must be a whole number"),
        ({"kind": "every", "seconds": 10**30}, "more than can be counted"),
        ({"kind": "every", "seconds": 0}, "one second or more"),
        ({"kind": "at", "at": "tomorrow"}, "'tomorrow' is not written like 2027-02-01T08:00:00+00:00"),
        ({"kind": "at", "at": "2027-02-01T08:00:00"}, "a datetime with a time zone"),
        ({"kind": "at", "at": "2027-02-01", 5: 5}, "5 is not known; there are at"),
    ],
)
def test_stored_data_that_is_no_recurrence_is_refused_in_a_sentence(data: Any, says: str) -> None:
    with pytest.raises(InvalidRecurrence) as refused:
        recurrence_from_json(data)
    assert says in str(refused.value)


# -------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (Cron("30 2 * * *"), "At 02:30 every day, UTC"),
        (Cron("30 2 * * *", timezone="Asia/Kolkata"), "At 02:30 every day, Asia/Kolkata"),
        (
            Cron("30 2 * * *", timezone=BERLIN),
            "At 02:30 every day, Europe/Berlin; "
            "a skipped time runs at the next valid instant, a repeated one once, the first time",
        ),
        (
            Cron("*/30 * * * *", timezone=BERLIN, gap="skip"),
            "Every 30th minute of every hour, Europe/Berlin; a skipped time does not run, a repeated one both times",
        ),
        (
            Cron("0 9 * * 1-5", timezone="Australia/Lord_Howe", gap="same_offset", fold="last"),
            "At 09:00 on Monday through Friday, Australia/Lord_Howe; "
            "a skipped time runs as if the clocks had not changed, a repeated one once, the second time",
        ),
        (Cron("0 0 21,22,23,31 * *"), "At 00:00 on the 21st, the 22nd, the 23rd, and the 31st day of month, UTC"),
        (Cron("0 0 11,12,13 * *"), "At 00:00 on the 11th, the 12th, and the 13th day of month, UTC"),
        (Cron("0 0 L * *"), "At 00:00 on the last day of every month, UTC"),
        (Cron("0 0 * * 5L"), "At 00:00 on the last Friday of the month, UTC"),
        (Every(15 * MINUTE), "Every 15 minutes from 00:00 UTC"),
        (Every(15 * MINUTE, phase=5 * MINUTE), "Every 15 minutes from 00:05 UTC"),
        (Every(MINUTE, phase=dt.timedelta(seconds=30)), "Every minute from 00:00:30 UTC"),
        (Every(7 * MINUTE), "Every 7 minutes, counted from 1970-01-01 00:00 UTC"),
        (Every(7 * DAY, phase=4 * DAY), "Every week, counted from 1970-01-05 00:00 UTC"),
        (Every(DAY + MINUTE), "Every 1 day 1 minute, counted from 1970-01-01 00:00 UTC"),
        (At(dt.datetime(2027, 2, 1, 8, tzinfo=UTC)), "Once, at 2027-02-01 08:00 UTC"),
        (At(dt.datetime(2027, 2, 1, 8, 0, 10, tzinfo=UTC)), "Once, at 2027-02-01 08:00:10 UTC"),
    ],
    ids=repr,
)
def test_a_recurrence_is_explained_in_plain_words(one: recurrence.Recurrence, says: str) -> None:
    assert explain(one) == says


# ------------------------------------------------------------------------- bounds and calendars

GERMANY = Calendar(
    name="Germany",
    dates=[dt.date(2027, 5, 7)],
    weekdays=["sun", "SAT"],
    ranges=[(dt.date(2027, 12, 27), dt.date(2027, 12, 31))],
    holidays={dt.date(2027, 5, 6): "Ascension Day", dt.date(2027, 12, 25): "Christmas Day"},
)


@pytest.mark.parametrize(
    ("day", "says"),
    [
        ("2027-05-05", ""),
        ("2027-05-06", "Germany: 2027-05-06 is Ascension Day"),
        ("2027-05-07", "Germany: 2027-05-07 is excluded"),
        ("2027-05-08", "Germany: 2027-05-08 is a Saturday"),
        ("2027-12-25", "Germany: 2027-12-25 is Christmas Day"),
        ("2027-12-27", "Germany: 2027-12-27 is excluded, from 2027-12-27 to 2027-12-31"),
        ("2027-12-31", "Germany: 2027-12-31 is excluded, from 2027-12-27 to 2027-12-31"),
    ],
)
def test_a_calendar_says_why_a_due_time_is_excluded(day: str, says: str) -> None:
    (due,) = Cron("30 23 * * *", timezone=BERLIN).next(1, dt.datetime.fromisoformat(f"{day}T00:00Z"))
    assert Bounds(calendars=[GERMANY]).excluded(due) == GERMANY.excluded(due) == says


def test_days_of_a_calendar_are_those_of_the_recurrence_unless_it_has_a_zone() -> None:
    holiday = Calendar(dates=[dt.date(2027, 5, 6)])
    # 00:30 of the 6th in Berlin is 22:30 of the 5th in UTC.
    (due,) = Cron("30 0 * * *", timezone=BERLIN).next(1, dt.datetime(2027, 5, 5, 12, tzinfo=UTC))
    assert holiday.excluded(due)
    assert not Calendar(dates=holiday.dates, timezone="UTC").excluded(due)
    # Every has no zone of its own.
    (turn,) = Every(dt.timedelta(minutes=30)).next(1, dt.datetime(2027, 5, 5, 22, tzinfo=UTC))
    assert not holiday.excluded(turn)
    assert Calendar(dates=holiday.dates, timezone=BERLIN).excluded(turn)


def test_a_time_that_clocks_skip_belongs_to_the_day_it_was_asked_for() -> None:
    (due,) = Cron("30 23 30 3 *", timezone="America/Nuuk").next(1, dt.datetime(2024, 3, 30, 12, tzinfo=UTC))
    assert (due.mark, due.at) == ("gap", dt.datetime(2024, 3, 31, 1, tzinfo=UTC))
    assert Calendar(dates=[dt.date(2024, 3, 30)]).excluded(due)
    assert not Calendar(dates=[dt.date(2024, 3, 31)]).excluded(due)


def test_calendars_and_bounds_are_values() -> None:
    bounds = Bounds(
        start=NOW, end=NOW + DAY, max_runs=3, calendars=[GERMANY, Calendar(timezone=BERLIN)], window=10 * MINUTE
    )
    assert calendar_from_json(json.loads(json.dumps(GERMANY.to_json()))) == GERMANY
    assert bounds_from_json(json.loads(json.dumps(bounds.to_json()))) == bounds
    assert bounds_from_json({}) == Bounds() == bounds_from_json(Bounds().to_json())
    assert len({bounds, bounds_from_json(bounds.to_json()), Bounds()}) == 2
    assert Calendar(weekdays=["SUN", "sat", "SAT"]) == Calendar(weekdays=("SAT", "SUN"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"weekday": ["SAT"]}, "did you mean 'weekdays'"),
        ({"weekdays": ["SATURDAY"]}, "'SATURDAY' is none of MON, TUE"),
        ({"dates": ["2027-02-30"]}, "'2027-02-30' is not written like 2027-02-01"),
        ({"dates": [5]}, "5 is not written like"),
        ({"ranges": ["2027-01-01"]}, "a list of pairs of dates"),
        ({"ranges": [["2027-01-02", "2027-01-01"]]}, "runs backwards"),
        ({"holidays": {"Christmas": "2027-12-25"}}, "'Christmas' is not written like"),
        ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ("weekends", "it must be an object"),
    ],
)
def test_stored_data_that_is_no_calendar_is_refused_in_a_sentence(data: Any, says: str) -> None:
    for read in (calendar_from_json, lambda data: bounds_from_json({"calendars": [data]})):
        with pytest.raises(InvalidRecurrence) as refused:
            read(data)
        assert says in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start": NOW, "end": NOW - DAY}, "later than the end"),
        ({"start": NOW.replace(tzinfo=None)}, "start=.*a datetime with a time zone"),
        ({"max_runs": 0}, "a whole number above zero"),
        ({"max_runs": True}, "a whole number above zero"),
        ({"window": -MINUTE}, "not negative"),
        ({"window": 60}, "a timedelta"),
        ({"calendars": ["Germany"]}, "Calendar values"),
    ],
)
def test_bounds_that_mean_nothing_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRecurrence, match=says):
        Bounds(**arguments)


def test_a_datetime_is_no_date_of_a_calendar() -> None:
    with pytest.raises(InvalidRecurrence, match="is not a date"):
        Calendar(dates=[NOW])


def test_start_and_end_belong_to_the_bounds_and_excluded_due_times_are_given_with_the_others() -> None:
    daily = Cron("0 0 * * *")
    bounds = Bounds(start=NOW, end=NOW + 3 * DAY, calendars=[Calendar(weekdays=["SAT"])])
    dues = list(bounds.iter_from(daily, NOW - 9 * DAY))
    assert ats(dues) == ["2027-01-01 00:00", "2027-01-02 00:00", "2027-01-03 00:00", "2027-01-04 00:00"]
    assert [bounds.excluded(due) for due in dues] == ["", "2027-01-02 is a Saturday", "", ""]
    assert ats(list(bounds.iter_from(daily, NOW + 2 * DAY))) == ["2027-01-04 00:00"]
    assert list(Bounds().iter_from(At(NOW), NOW - DAY)) == At(NOW).next(1, NOW - DAY)


def test_the_caller_counts_runs() -> None:
    assert [Bounds(max_runs=2).is_spent(runs) for runs in (0, 1, 2, 3)] == [False, False, True, True]
    assert not Bounds().is_spent(10**9)


@given(tenant=st.integers(0), seconds=st.integers(0, 10**6))
def test_an_offset_lies_in_its_window_and_never_changes(tenant: int, seconds: int) -> None:
    key = f"report:{tenant}"
    window = dt.timedelta(seconds=seconds)
    assert offset_in(window, key) == offset_in(window, key)
    assert dt.timedelta(0) <= offset_in(window, key) < max(window, dt.timedelta(microseconds=1))


def test_offsets_are_those_they_always_were() -> None:
    seconds = [offset_in(10 * MINUTE, key).total_seconds() for key in ("a:acme", "a:globex", "b:acme")]
    assert seconds == [66.878593, 280.733651, 358.356452]


def test_offsets_fill_a_window_evenly() -> None:
    minutes = Counter(offset_in(10 * MINUTE, f"report:{number}") // MINUTE for number in range(10_000))
    assert sorted(minutes) == list(range(10))
    # Of a fair die of ten sides, 10,000 throws: five standard deviations of 30.
    assert all(850 < count < 1_150 for count in minutes.values())
    assert len({offset_in(MINUTE, f"report:{number}") for number in range(1_000)}) == 1_000


# ------------------------------------------------------------------------------------- the room


def test_recurrence_is_pure() -> None:
    allowed = {"cronsim", "taskyard.errors"}
    standard = {
        "__future__", "abc", "collections.abc", "dataclasses", "datetime", "difflib", "functools", "hashlib", "heapq",
        "itertools", "re", "typing", "zoneinfo",
    }  # fmt: skip
    for file in Path(recurrence.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name in allowed | standard or name.startswith("taskyard.schedules.recurrence."), (file, name)
            assert not isinstance(node, ast.Attribute) or node.attr not in ("now", "utcnow", "today"), file


def test_three_names_are_offered_at_the_door() -> None:
    assert {"At", "Cron", "Every"} <= set(taskyard.schedules.__all__)
