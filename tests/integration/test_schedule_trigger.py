"""A clock elsewhere calls for a schedule of the code: each due time is decided once, by its own rules."""

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from taskyard.errors import InvalidSchedule, TaskyardError, UndeclaredSchedule, UnknownTask
from taskyard.jobs.models import Job
from taskyard.schedules import Bounds, Calendar, Cron, Every, Schedule, register
from taskyard.schedules.scheduler import Scheduler
from taskyard.schedules.sources import code
from taskyard.schedules.trigger import run_by_hand, trigger
from tests.app.tasks import nothing

pytestmark = pytest.mark.django_db

HOUR, MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)
NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    yield


def declare(**said: Any) -> None:
    code._declared.clear()
    register("hourly", said.pop("recurrence", Every(HOUR)), task=nothing, targets=["crontab"], **said)


def call(at: dt.datetime, **said: Any) -> list[tuple[str, dt.datetime]]:
    return [(one.decision, one.due_at) for one in trigger("hourly", now=at, **said)]


def test_a_call_enqueues_once_however_often_it_comes() -> None:
    declare()
    assert call(NOON + dt.timedelta(seconds=2)) == [("fired", NOON)]
    assert call(NOON + dt.timedelta(seconds=2)) == call(NOON + MINUTE) == []
    [job] = Job.objects.all()
    assert job.task == "app.nothing"
    row = Schedule.objects.get()
    assert (row.origin, row.next_at, row.runs) == ("trigger", None, 1)


def test_no_scheduler_of_ours_runs_it_too() -> None:
    declare()
    call(NOON)
    assert Scheduler().run_once(NOON + 5 * HOUR) == 0
    row = Schedule.objects.get()
    row.disable()
    row.enable()
    row.pause()
    row.resume()
    row.refresh_from_db()
    assert row.next_at is None
    assert Job.objects.count() == 1


def test_a_clock_that_is_ahead_of_ours_says_what_it_calls_for() -> None:
    declare(overlap="allow")
    assert call(NOON - dt.timedelta(seconds=3), due=NOON) == [("fired", NOON)]
    assert call(NOON + HOUR - dt.timedelta(seconds=3), due=NOON + HOUR) == [("fired", NOON + HOUR)]
    assert call(NOON + HOUR) == []
    with pytest.raises(TaskyardError, match="still to come"):
        call(NOON, due=NOON + 5 * HOUR)


def test_missed_calls_are_caught_up_as_the_schedule_says() -> None:
    declare(overlap="allow", catch_up="all")
    call(NOON)
    assert call(NOON + 3 * HOUR) == [("fired", NOON + n * HOUR) for n in (1, 2, 3)]
    assert len(call(NOON + 6 * HOUR + 2 * MINUTE)) == 3


def test_by_default_the_last_missed_call_runs_for_all_of_them() -> None:
    declare()
    call(NOON)
    Job.objects.all().delete()
    assert [decision for decision, _ in call(NOON + 3 * HOUR)] == ["coalesced", "coalesced", "fired"]


def test_more_than_one_turn_decides_are_all_decided() -> None:
    declare(recurrence=Every(MINUTE), overlap="allow")
    call(NOON)
    decided = call(NOON + 1_500 * MINUTE)
    assert len(decided) == 1_500
    assert decided[-1] == ("fired", NOON + 1_500 * MINUTE)


def test_overlap_calendars_pauses_and_the_last_run_hold() -> None:
    declare(bounds=Bounds(max_runs=3, calendars=[Calendar(dates=[dt.date(2026, 5, 5)])]))
    assert call(NOON) == [("fired", NOON)]
    assert call(NOON + HOUR) == [("skipped", NOON + HOUR)]
    assert call(NOON + 24 * HOUR)[-1] == ("suppressed", NOON + 24 * HOUR)
    Job.objects.all().delete()
    Schedule.objects.update(paused_at=NOON + 47 * HOUR)
    assert call(NOON + 48 * HOUR)[-1] == ("suppressed", NOON + 48 * HOUR)
    Schedule.objects.update(paused_at=None, runs=3)
    assert call(NOON + 49 * HOUR) == []


@pytest.mark.django_db(transaction=True)
def test_first_calls_of_several_clocks_at_once_make_one_row_and_one_job() -> None:
    declare()
    start = threading.Barrier(4)

    def one_clock(_: int) -> int:
        try:
            start.wait(20)
            return len(call(NOON))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as clocks:
        assert sorted(clocks.map(one_clock, range(4))) == [0, 0, 0, 1]
    assert (Schedule.objects.count(), Job.objects.count()) == (1, 1)


def test_a_disabled_one_leaves_no_trace() -> None:
    declare()
    call(NOON)
    Schedule.objects.get().disable()
    assert call(NOON + HOUR) == []


def test_it_follows_the_code_and_what_it_calls_for_still_runs() -> None:
    declare(overlap="allow")
    call(NOON)
    declare(overlap="allow", kwargs={"n": 1}, recurrence=Cron("30 * * * *"))
    assert call(NOON + 30 * MINUTE) == [("fired", NOON + 30 * MINUTE)]
    assert [job.kwargs for job in Job.objects.order_by("created_at")] == [{}, {"n": 1}]
    assert Schedule.objects.get().version == 2


def test_what_a_person_runs_first_leaves_nothing_to_be_caught_up() -> None:
    declare(overlap="allow", catch_up="all")
    assert run_by_hand("hourly", by="ada", now=NOON + 5 * MINUTE).decision == "fired"
    assert call(NOON + HOUR) == [("fired", NOON + HOUR)]


def test_beside_the_built_in_scheduler_each_due_time_runs_once() -> None:
    register("hourly", Every(HOUR), task=nothing, overlap="allow")
    code.sync(now=NOON - MINUTE)
    assert call(NOON) == [("fired", NOON)]
    assert Scheduler().run_once(NOON) == 0
    Scheduler().run_once(NOON + HOUR)
    assert call(NOON + HOUR) == []
    assert Job.objects.count() == 2


def test_the_built_in_target_takes_it_over_when_told() -> None:
    declare()
    call(NOON)
    assert code.sync(now=NOON) == []
    code._declared.clear()
    register("hourly", Every(HOUR), task=nothing)
    [change] = code.sync(now=NOON + MINUTE)
    assert (change.kind, change.columns) == ("change", {"origin": ("trigger", "code")})
    assert Schedule.objects.get().next_at == NOON + HOUR
    assert code.sync(now=NOON + MINUTE) == []


def test_a_row_that_the_code_dropped_altogether_goes() -> None:
    declare()
    call(NOON)
    code._declared.clear()
    assert [change.kind for change in code.sync(now=NOON)] == ["remove"]


def test_what_cannot_be_called_for_says_why() -> None:
    with pytest.raises(UndeclaredSchedule, match="declares no schedule 'hourly'"):
        call(NOON)
    register("hourly", Every(HOUR), task="app.nowhere")
    with pytest.raises(UnknownTask):
        call(NOON)
    assert not Schedule.objects.exists()
    declare()
    Schedule.objects.define(name="hourly", tenant="", recurrence=Every(HOUR), task=nothing)
    with pytest.raises(InvalidSchedule, match="origin 'api'"):
        call(NOON)
