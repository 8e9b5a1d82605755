"""Due times of the past that are run after all: one step at a time, clocks are arguments."""

import datetime as dt
import threading
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

from taskyard.entrypoint import cli
from taskyard.entrypoint.failures import Exit
from taskyard.errors import InvalidSchedule, UnknownQueue
from taskyard.execution.outcome import Succeeded
from taskyard.execution.settle import settle
from taskyard.jobs.models import Job
from taskyard.monitoring.diagnosis import schedules as diagnosis
from taskyard.schedules import Bounds, Calendar, Every, backfill
from taskyard.schedules.backfill import Outlook, Wish, look_ahead
from taskyard.schedules.models import Backfill, Occurrence, Schedule
from taskyard.schedules.scheduler import Scheduler, decide_due, fill
from tests.app.tasks import answer, nothing, once
from tests.integration.shelf import start
from tests.servers.process import wait_until

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND, MINUTE, HOUR, DAY = (dt.timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


def define(now: dt.datetime = NOW, **said: Any) -> Schedule:
    values: dict[str, Any] = {
        "name": "hourly", "recurrence": Every(HOUR), "task": nothing, "overlap": "allow", **said
    }  # fmt: skip
    return Schedule.objects.define(now=now, **values)


def begin(row: Schedule, *, now: dt.datetime = NOW, **said: Any) -> Backfill:
    return backfill.start(row, Wish(**{"since": NOW - 5 * HOUR, "per_minute": 6000, **said}), by="ada", now=now)


def run_out(now: dt.datetime = NOW, turns: int = 100) -> int:
    """Feed as long as there is anything to be fed, the clock going on a second each time; how many turns."""
    for turn in range(turns):
        if not Backfill.objects.running().exists():
            return turn
        fill(now + turn * SECOND)
    pytest.fail(f"it goes on after {turns} turns: {Backfill.objects.running().values()}")


def end(job: Job, now: dt.datetime) -> None:
    Job.objects.filter(id=job.id).update(state="queued")
    assert settle(start(job, now), Succeeded(), now)


def due(row: Schedule, decision: str = "fired") -> list[dt.timedelta]:
    found = Occurrence.objects.filter(schedule=row, decision=decision).order_by("due_at", "tenant")
    return [each.due_at - NOW for each in found]


def test_due_times_from_before_there_was_a_schedule_run_as_it_was_first_said_each_with_its_occurrence() -> None:
    row = define(kwargs={"n": 7}, queue="slow", priority=4)
    filled = begin(row)
    assert run_out() == 1
    filled.refresh_from_db()
    assert (filled.state, filled.fired, filled.jobs, filled.left_alone, filled.progress) == ("done", 6, 6, 0, 1.0)
    assert due(row) == [-hours * HOUR for hours in (5, 4, 3, 2, 1, 0)]
    jobs = list(Job.objects.all())
    assert {(job.queue, job.priority, job.kwargs["n"]) for job in jobs} == {("backfill", 4, 7)}
    assert {job.occurrence: job.id for job in jobs} == dict(Occurrence.objects.values_list("pk", "job"))
    assert set(Occurrence.objects.values_list("actor", "reason", "effective_at")) == {("ada", "back-filled", NOW)}


def test_a_second_back_fill_of_the_same_time_runs_nothing_and_the_scheduler_neither() -> None:
    row = define()
    begin(row)
    run_out()
    again = begin(row, since=NOW - 6 * HOUR)
    run_out()
    again.refresh_from_db()
    assert (again.fired, again.left_alone) == (1, 6)
    Schedule.objects.update(decided_until=NOW - 3 * HOUR, next_at=NOW - 2 * HOUR)
    decide_due(NOW)
    assert Job.objects.count() == 7


def test_what_did_not_run_is_run_and_says_what_it_was_and_what_ran_or_waits_is_left_alone() -> None:
    row = define(NOW - 7 * HOUR, catch_up="none")
    decide_due(NOW - 6 * HOUR)
    row.pause(reason="moving house")
    Schedule.objects.update(paused_at=NOW - 6 * HOUR)
    decide_due(NOW - 5 * HOUR)
    Schedule.objects.update(paused_at=None)
    decide_due(NOW - 4 * HOUR)
    Occurrence.objects.filter(due_at=NOW - 4 * HOUR).update(decision="buffered", lock="x", job=None)
    decide_due(NOW)
    assert due(row, "missed") == [-3 * HOUR, -2 * HOUR, -HOUR]
    assert look_ahead(row, Wish(since=NOW - 6 * HOUR), now=NOW) == Outlook(4, 3, 0)
    begin(row, since=NOW - 6 * HOUR)
    run_out()
    assert due(row) == [-6 * HOUR, -5 * HOUR, -3 * HOUR, -2 * HOUR, -HOUR, 0 * HOUR]
    assert due(row, "buffered") == [-4 * HOUR]
    reasons = dict(Occurrence.objects.values_list("due_at", "reason"))
    assert reasons[NOW - 5 * HOUR] == "back-filled; was suppressed: paused: moving house"
    assert reasons[NOW - HOUR].startswith("back-filled; was missed: ")


def test_each_due_time_has_the_definition_that_was_valid_then() -> None:
    row = define(NOW - 6 * HOUR, task=answer, kwargs={"value": "first"})
    define(NOW - 4 * HOUR, task=answer, kwargs={"value": "second"})
    define(NOW - 4 * HOUR, task=answer, kwargs={"value": "at once corrected"}, recurrence=Every(30 * MINUTE))
    define(NOW - 2 * HOUR - MINUTE, task=answer, kwargs={"value": "third"})
    begin(row, since=NOW - 7 * HOUR, until=NOW - HOUR)
    run_out()
    found = {
        job.id: job.kwargs["value"] for job in Job.objects.all()
    }  # fmt: skip
    assert [
        ((each.due_at - NOW) / HOUR, each.version, found[each.job]) for each in Occurrence.objects.order_by("due_at")
    ] == [
        (-7, 1, "first"), (-6, 1, "first"), (-5, 1, "first"),
        (-4, 3, "at once corrected"), (-3.5, 3, "at once corrected"), (-3, 3, "at once corrected"),
        (-2.5, 3, "at once corrected"), (-2, 4, "third"), (-1, 4, "third"),
    ]  # fmt: skip


def test_days_that_a_calendar_rules_out_are_left_alone() -> None:
    holiday = Calendar(holidays={(NOW - DAY).date(): "Star Wars Day"})
    row = define(recurrence=Every(DAY), bounds=Bounds(calendars=[holiday]))
    assert look_ahead(row, Wish(since=NOW - 3 * DAY), now=NOW) == Outlook(2, 0, 1)
    filled = begin(row, since=NOW - 3 * DAY)
    run_out()
    filled.refresh_from_db()
    assert (filled.fired, filled.left_alone) == (2, 1)


def test_it_keeps_to_its_rate_and_goes_on_where_a_killed_scheduler_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = define(recurrence=Every(MINUTE))
    filled = begin(row, since=NOW - 9 * MINUTE, per_minute=120)
    assert (fill(NOW), fill(NOW), fill(NOW + SECOND / 2)) == (2, 0, 0)
    filled.refresh_from_db()
    assert (filled.next_at, round(filled.progress, 2)) == (NOW + SECOND, 0.11)
    with monkeypatch.context() as patched:
        patched.setattr(Backfill, "save", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fill(NOW + SECOND)
    assert Job.objects.count() == 2
    assert [fill(NOW + seconds * SECOND) for seconds in range(1, 6)] == [2, 2, 2, 2, 0]
    assert due(row) == [-minutes * MINUTE for minutes in range(9, -1, -1)]


def test_a_cancelled_one_feeds_no_more() -> None:
    filled = begin(define(recurrence=Every(MINUTE)), since=NOW - HOUR, per_minute=60)
    fill(NOW)
    assert (filled.cancel(by="grace"), filled.cancel()) == (True, False)
    assert (filled.state, filled.ended_by, fill(NOW + HOUR), Job.objects.count()) == ("cancelled", "grace", 0, 1)


def test_where_runs_may_not_overlap_one_comes_after_the_other_beside_those_of_the_present() -> None:
    row = define(overlap="skip")
    begin(row, since=NOW - 2 * HOUR)
    for hours in (2, 1, 0):
        assert (fill(NOW), fill(NOW + SECOND)) == (1, 0)
        [job] = Job.objects.active()
        assert Occurrence.objects.get(pk=job.occurrence).due_at == NOW - hours * HOUR
        if hours == 1:
            decide_due(NOW + HOUR)
            assert due(row)[-1] == HOUR
            end(Job.objects.get(occurrence=Occurrence.objects.get(due_at=NOW + HOUR).pk), NOW)
        end(job, NOW)
        Backfill.objects.running().update(next_at=NOW)
    assert Backfill.objects.get().state == "done"


def test_a_job_under_the_tasks_own_key_is_waited_for() -> None:
    once.enqueue(key="k")
    filled = begin(define(task=once, kwargs={"key": "k"}), since=NOW - HOUR)
    assert fill(NOW) == 0
    filled.refresh_from_db()
    assert (filled.next_at, Occurrence.objects.count()) == (NOW + SECOND, 0)
    end(Job.objects.get(), NOW)
    assert fill(NOW + SECOND) == 1


def listing(*tenants: str) -> Any:
    tenancy = {"TENANCY": "rows", "TENANTS": lambda name=None: iter(tenants) if name is None else name}
    return override_settings(TASKYARD=tenancy)


@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_for_several_tenants_each_has_its_jobs_and_one_alone_may_be_filled(overlap: str) -> None:
    row = define(tenants="each", overlap=overlap)
    with listing("acme", "globex"):
        begin(row, since=NOW - HOUR, tenant="acme")
        assert fill(NOW) >= 1
        for job in Job.objects.active():
            end(job, NOW)
        Backfill.objects.running().update(next_at=NOW)
        fill(NOW)
        assert [(o.tenant, o.due_at) for o in Occurrence.objects.order_by("due_at")] == [
            ("acme", NOW - HOUR), ("acme", NOW)
        ]  # fmt: skip
        for job in Job.objects.active():
            end(job, NOW)
        begin(row, since=NOW - HOUR)
        for turn in range(3):
            fill(NOW + turn * SECOND)
            for job in Job.objects.active():
                end(job, NOW)
    jobs = Counter((job.tenant, Occurrence.objects.get(pk=job.occurrence).due_at - NOW) for job in Job.objects.all())
    assert jobs == {(name, at): 1 for name in ("acme", "globex") for at in (-HOUR, 0 * HOUR)}
    assert not Backfill.objects.running().exists()
    # What ran for all of them ran for each.
    assert look_ahead(row, Wish(since=NOW - HOUR, tenant="globex"), now=NOW) == Outlook(0, 2, 0)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"since": NOW + HOUR}, "none of them to come"),
        ({"until": NOW - DAY}, "none of them to come"),
        ({"since": NOW.replace(tzinfo=None)}, "time zone"),
        ({"per_minute": 0}, "above zero"),
        ({"per_minute": "often"}, "above zero"),
        ({"tenant": "acme"}, "several tenants"),
        ({"since": NOW - 100 * DAY}, "--forgotten"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(wish: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSchedule, match=says):
        begin(define(NOW - 200 * DAY), **wish)
    assert not Backfill.objects.exists()


def test_what_is_forgotten_runs_if_that_is_asked_for_and_what_was_before_the_schedule_in_any_case() -> None:
    row = define(NOW - 95 * DAY, recurrence=Every(DAY))
    assert look_ahead(row, Wish(since=NOW - 100 * DAY, until=NOW - 96 * DAY), now=NOW).to_run == 4
    assert look_ahead(row, Wish(since=NOW - 100 * DAY, forgotten=True), now=NOW).to_run == 100


def test_a_queue_that_is_not_declared_is_refused() -> None:
    row = define()
    with override_settings(TASKYARD={"QUEUES": ["high", "low"]}):
        with pytest.raises(UnknownQueue, match="backfill"):
            begin(row)
        begin(row, queue="low")


def test_what_the_projects_own_code_raises_is_noted_and_holds_up_no_other() -> None:
    define(name="broken", task="app.nobody")
    broken, whole = begin(Schedule.objects.get()), begin(define())
    fill(NOW)
    broken.refresh_from_db()
    whole.refresh_from_db()
    assert (broken.state, broken.next_at, whole.state) == ("running", NOW + 30 * SECOND, "done")
    assert "app.nobody" in broken.error
    [stuck] = [finding for finding in diagnosis.schedules() if finding.name == f"back-fill {broken.pk}"]
    assert "app.nobody" in stuck.finding
    Schedule.objects.filter(name="broken").update(task="app.nothing")
    row = Schedule.objects.get(name="broken")
    row.versions.update(definition={**row.versions.get().definition, "task": "app.nothing"})
    fill(NOW + 30 * SECOND)
    broken.refresh_from_db()
    assert (broken.error, broken.state) == ("", "done")


def test_memory_does_not_grow_with_the_time() -> None:
    row = define(recurrence=Every(MINUTE))

    def peak(minutes: int) -> int:
        tracemalloc.start()
        assert look_ahead(row, Wish(since=NOW - minutes * MINUTE), now=NOW).to_run == minutes + 1
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(2_500) < 1.5 * peak(800)


def test_the_agent_feeds_and_waits_until_it_may_go_on() -> None:
    agent, row = Scheduler(), define()
    Schedule.objects.filter(pk=row.pk).update(next_at=None)
    begin(row, per_minute=30)
    assert agent.run_once(NOW) == 1
    assert agent.pause(0, is_deaf=False) == 2 * SECOND
    assert agent.run_once(NOW + SECOND) == 0
    assert agent.pause(0, is_deaf=False) == SECOND


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not connection.features.has_select_for_update_skip_locked, reason="one writer at a time there")
def test_one_that_another_scheduler_has_in_hand_is_passed_over() -> None:
    row, results = define(), []
    begin(row)

    def other() -> None:
        results.append(fill(NOW))
        connections.close_all()

    with transaction.atomic():
        Schedule.objects.select_for_update().get(pk=row.pk)
        thread = threading.Thread(target=other)
        thread.start()
        wait_until(lambda: bool(results), 20, "the other scheduler to pass it over")
        thread.join()
    assert results == [0]
    assert fill(NOW) == 6


# -- the command -------------------------------------------------------------------------------------------------------


def command(*words: str) -> int:
    return cli.run(["schedules", *words], prog="taskyard", has_project=True)


def test_the_command_says_what_it_would_do_does_it_shows_it_and_cancels_it(capsys: pytest.CaptureFixture[str]) -> None:
    now = dt.datetime.now(dt.UTC)
    row = define(now, recurrence=Every(DAY))
    assert command("backfill", "hourly", "--from", "3d", "--dry-run") == Exit.OK
    assert "3 due times would run; 0 ran before, 0 are ruled out by a calendar." in capsys.readouterr().out
    assert not Backfill.objects.exists()
    assert command("backfills") == Exit.WRONG
    assert command("backfill", "hourly", "--from", "3d", "--rate", "6000") == Exit.OK
    said = capsys.readouterr()
    assert "begins" in said.out
    assert "No worker takes queue 'backfill' now" in said.err
    fill(dt.datetime.now(dt.UTC))
    assert command("backfills") == Exit.OK
    assert "100%" in capsys.readouterr().out
    assert command("backfill", "hourly", "--from", "3d", "--dry-run") == Exit.WRONG
    assert command("backfill", "hourly", "--from", "3d") == Exit.OK
    assert command("backfill", "hourly", "--cancel") == Exit.OK
    assert command("backfill", "hourly", "--cancel") == Exit.WRONG
    assert sorted(row.backfills.values_list("state", flat=True)) == ["cancelled", "done"]
    assert command("backfill", "hourly", "--from", "2999-01-01") == Exit.USAGE
