"""Definitions, and schedulers one turn at a time: their clocks are arguments."""

import datetime as dt
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from taskyard import task
from taskyard.errors import InvalidSchedule, TenantNotReady
from taskyard.execution.outcome import Failed, Succeeded, Trouble
from taskyard.execution.pruner import Pruner
from taskyard.execution.settle import settle
from taskyard.jobs.models import Job
from taskyard.monitoring.diagnosis import schedules as diagnosis
from taskyard.outbox.models import TenantSetting
from taskyard.schedules import At, Bounds, Cron, Every
from taskyard.schedules.models import Occurrence, Schedule, ScheduleVersion
from taskyard.schedules.scheduler import Scheduler, decide_due, release, run_now
from tests.app.tasks import nothing
from tests.integration.shelf import start
from tests.workers import Project

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND, MINUTE, HOUR = dt.timedelta(seconds=1), dt.timedelta(minutes=1), dt.timedelta(hours=1)


def define(now: dt.datetime = NOW, **said: Any) -> Schedule:
    values: dict[str, Any] = {"name": "tick", "recurrence": Every(MINUTE), "task": nothing, **said}
    return Schedule.objects.define(now=now, **values)


def decisions(row: Schedule) -> list[tuple[dt.timedelta, str]]:
    return [(o.due_at - NOW, o.decision) for o in Occurrence.objects.filter(schedule=row).order_by("due_at")]


def counted(row: Schedule) -> dict[str, int]:
    return dict(Counter(decision for _, decision in decisions(row)))


def end(job: Job, now: dt.datetime, outcome: Any = None) -> None:
    Job.objects.filter(id=job.id).update(state="queued")
    job.refresh_from_db()
    assert settle(start(job, now), outcome or Succeeded(), now)


def all_ended(now: dt.datetime) -> None:
    for job in Job.objects.active():
        end(job, now)


# -- definitions -------------------------------------------------------------------------------------------------------


def test_a_name_has_one_row_and_each_change_a_version() -> None:
    first = define()
    assert define().version == 1
    second = define(kwargs={"n": 3})
    assert (second.pk, second.version, Schedule.objects.count()) == (first.pk, 2, 1)
    kept = ScheduleVersion.objects.filter(schedule=first).order_by("version").values_list("version", "definition")
    assert [(version, said["kwargs"]) for version, said in kept] == [(1, {}), (2, {"n": 3})]


def test_two_tenants_may_use_one_name() -> None:
    assert define(tenant="acme").pk != define(tenant="globex").pk


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidSchedule) as caught:
        define(overlap="perhaps", catch_up_count=0, priority=500, spread=3, bounds={}, colour="red")
    assert len(caught.value.problems) == 6
    assert not Schedule.objects.exists()


def test_an_edit_runs_nothing_that_was_due_before() -> None:
    row = define(recurrence=Every(HOUR))
    define(NOW + 90 * MINUTE, recurrence=Every(MINUTE))
    assert decide_due(NOW + 90 * MINUTE) == 0
    row.refresh_from_db()
    assert row.next_at == NOW + 91 * MINUTE


def test_the_preview_is_what_is_decided() -> None:
    row = define(recurrence=Cron("*/7 * * * *"), bounds=Bounds(window=5 * MINUTE))
    expected = [due.at for due in row.preview(5)]
    for at in expected:
        assert decide_due(at - SECOND) == 0
        assert decide_due(at) == 1
        all_ended(at)
    assert list(Occurrence.objects.order_by("due_at").values_list("effective_at", flat=True)) == expected


def test_what_cannot_be_made_sense_of_is_parked_and_stops_no_other() -> None:
    broken, whole = define(name="broken"), define(name="whole")
    Schedule.objects.filter(pk=broken.pk).update(recurrence={"kind": "moon"})
    unknown = define(name="unknown", task="app.nobody")
    decide_due(NOW + MINUTE)
    unknown.refresh_from_db()
    # Another scheduler, of the code that is being rolled out, may know it.
    assert (unknown.error, unknown.next_at) == ("", NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE + SECOND)
    for row in (broken, unknown):
        row.refresh_from_db()
        assert (row.next_at, bool(row.error)) == (None, True)
        assert counted(row) == {"errored": 1}
    assert "app.nobody" in unknown.error
    assert counted(whole) == {"fired": 1, "skipped": 1}
    broken.disable()
    broken.refresh_from_db()
    assert (broken.enabled, broken.next_at) == (False, None)
    again = define(NOW + MINUTE, name="broken", enabled=True)
    assert (again.error, again.next_at) == ("", NOW + 2 * MINUTE)
    Schedule.objects.filter(pk=unknown.pk).update(task="app.nothing")
    unknown.resume()
    unknown.refresh_from_db()
    assert unknown.error == ""
    assert unknown.next_at is not None


# -- firing ------------------------------------------------------------------------------------------------------------


def _asks_in_vain(n: int) -> str:
    if n == 13:
        Job.objects.extra(where=["no_such_column = 1"]).exists()
    return str(n)


@task(name="app.asks_in_vain", unique=_asks_in_vain)
def asks_in_vain(n: int) -> int:
    return n


def test_one_whose_own_code_breaks_the_transaction_is_parked_and_the_others_fire() -> None:
    broken = define(name="broken", task=asks_in_vain, kwargs={"n": 13})
    others = [define(name=f"whole {n}", task=asks_in_vain, kwargs={"n": n}) for n in range(3)]
    is_told = connection.vendor == "postgresql"
    assert decide_due(NOW + MINUTE) == 3 + is_told
    broken.refresh_from_db()
    # Elsewhere the error may as well be a deadlock: it is tried again, and does not stop the others then either.
    assert (broken.next_at is None, "no_such_column" in broken.error) == (is_told, is_told)
    assert [counted(row) for row in others] == [{"fired": 1}] * 3


def test_its_jobs_are_created_by_whoever_made_it_or_by_the_user_for_schedules() -> None:
    define(by="ada", overlap="allow")
    define(name="fans out", by="ada", tenants=["acme"], overlap="allow")
    decide_due(NOW + MINUTE)
    assert {job.created_by for job in Job.objects.all()} == {"ada"}
    with override_settings(TASKYARD={"SCHEDULE_USER": "7"}):
        decide_due(NOW + 2 * MINUTE)
    assert Counter(job.created_by for job in Job.objects.all()) == {"ada": 2, "7": 2}


def test_a_due_time_becomes_one_job_with_its_occurrence() -> None:
    row = define(kwargs={"n": 7}, queue="slow", priority=3, tenant="acme")
    assert decide_due(NOW + 59 * SECOND) == 0
    assert decide_due(NOW + MINUTE) == 1
    assert decide_due(NOW + MINUTE) == 0
    job, occurrence = Job.objects.get(), Occurrence.objects.get()
    assert (job.kwargs, job.queue, job.priority, job.tenant) == ({"n": 7}, "slow", 3, "acme")
    assert (job.occurrence, occurrence.job, occurrence.version) == (occurrence.pk, job.id, 1)
    row.refresh_from_db()
    assert (row.runs, row.last_at, row.next_at) == (1, NOW + MINUTE, NOW + 2 * MINUTE)


def test_a_clock_that_steps_back_fires_nothing_twice() -> None:
    row = define(overlap="allow")
    decide_due(NOW + MINUTE)
    # As after a restore, or a definition that was aimed at the past.
    Schedule.objects.update(decided_until=NOW, next_at=NOW + MINUTE)
    decide_due(NOW + MINUTE)
    assert (Job.objects.count(), decisions(row)) == (1, [(MINUTE, "fired")])


def test_once_and_start_and_end_and_the_most_runs() -> None:
    once = define(name="once", recurrence=At(NOW + MINUTE))
    window = define(name="window", bounds=Bounds(start=NOW + 2 * MINUTE, end=NOW + 3 * MINUTE), overlap="allow")
    twice = define(name="twice", bounds=Bounds(max_runs=2), overlap="allow")
    for minute in range(1, 7):
        decide_due(NOW + minute * MINUTE)
    assert decisions(once) == [(MINUTE, "fired")]
    assert decisions(window) == [(2 * MINUTE, "fired"), (3 * MINUTE, "fired")]
    assert decisions(twice) == [(MINUTE, "fired"), (2 * MINUTE, "fired")]
    assert not Schedule.objects.filter(next_at__isnull=False).exists()


def test_a_paused_schedule_says_what_it_did_not_run_and_a_disabled_one_nothing() -> None:
    row = define(overlap="allow")
    Schedule.objects.filter(pk=row.pk).update(
        paused_at=NOW, paused_until=NOW + 3 * MINUTE, pause_reason="the printer is on fire"
    )
    for minute in range(1, 5):
        decide_due(NOW + minute * MINUTE)
    assert decisions(row) == [
        (MINUTE, "suppressed"), (2 * MINUTE, "suppressed"), (3 * MINUTE, "fired"), (4 * MINUTE, "fired")
    ]  # fmt: skip
    assert Occurrence.objects.first().reason == "paused: the printer is on fire"
    row.disable()
    assert decide_due(NOW + HOUR) == 0


def test_it_is_paused_after_so_many_failures_in_a_row() -> None:
    row = define(pause_after_failures=2)
    for minute in range(1, 4):
        decide_due(NOW + minute * MINUTE)
        for job in Job.objects.active():
            end(job, NOW + minute * MINUTE, Failed(Trouble("ValueError", "no")))
    row.refresh_from_db()
    assert (row.pause_reason, counted(row)) == ("2 jobs in a row failed", {"fired": 2, "suppressed": 1})


def test_run_now_is_one_more_and_has_its_actor() -> None:
    row = define()
    occurrence = run_now(row, by="ada", now=NOW + SECOND)
    assert (occurrence.decision, occurrence.actor) == ("fired", "ada")
    assert run_now(row, by="ada", now=NOW + 2 * SECOND).decision == "skipped"
    row.refresh_from_db()
    assert row.next_at == NOW + MINUTE


# -- overlap -----------------------------------------------------------------------------------------------------------


def after(policy: str, minutes: int = 3) -> Schedule:
    row = define(overlap=policy)
    for minute in range(1, minutes + 1):
        decide_due(NOW + minute * MINUTE)
    return row


def test_allow_runs_beside_an_earlier_one() -> None:
    assert counted(after("allow")) == {"fired": 3}


def test_skip_leaves_out_what_comes_meanwhile() -> None:
    row = after("skip")
    assert decisions(row) == [(MINUTE, "fired"), (2 * MINUTE, "skipped"), (3 * MINUTE, "skipped")]
    all_ended(NOW + 3 * MINUTE)
    decide_due(NOW + 4 * MINUTE)
    assert counted(row) == {"fired": 2, "skipped": 2}


@pytest.mark.parametrize(("policy", "waiting"), [("buffer_one", 1), ("buffer_all", 2)])
def test_buffered_ones_run_one_after_the_other_when_the_earlier_has_ended(policy: str, waiting: int) -> None:
    row = after(policy)
    assert counted(row).get("buffered") == waiting
    assert release(NOW + 3 * MINUTE) == 0
    for _ in range(waiting):
        all_ended(NOW + 3 * MINUTE)
        assert release(NOW + 3 * MINUTE) == 1
        assert Job.objects.active().count() == 1
    all_ended(NOW + 3 * MINUTE)
    assert release(NOW + 3 * MINUTE) == 0
    assert counted(row).get("fired") == 1 + waiting


def test_what_waits_runs_also_if_its_schedule_has_come_to_allow_it_beside_others() -> None:
    row = after("buffer_one", 2)
    all_ended(NOW + 2 * MINUTE)
    define(NOW + 2 * MINUTE, overlap="allow")
    assert release(NOW + 2 * MINUTE) == 1
    assert Job.objects.filter(id=Occurrence.objects.get(schedule=row, due_at=NOW + 2 * MINUTE).job).exists()


@pytest.mark.parametrize("how", ["pause", "disable"])
def test_what_waits_does_not_run_once_its_schedule_is_paused_or_disabled(how: str) -> None:
    row = after("buffer_one", 2)
    all_ended(NOW + 2 * MINUTE)
    getattr(row, how)()
    assert release(dt.datetime.now(dt.UTC) + SECOND) == 0
    assert counted(row) == {"fired": 1, "suppressed": 1}


def test_what_was_skipped_is_no_run() -> None:
    row = define(bounds=Bounds(max_runs=2))
    decide_due(NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE)
    row.refresh_from_db()
    assert (row.runs, row.last_at, row.next_at) == (1, NOW + MINUTE, NOW + 3 * MINUTE)
    all_ended(NOW + 2 * MINUTE)
    decide_due(NOW + 3 * MINUTE)
    row.refresh_from_db()
    assert (row.runs, row.next_at) == (2, None)


def test_cancel_running_asks_the_earlier_one_to_stop_and_runs_the_latest() -> None:
    row = define(overlap="cancel_running")
    decide_due(NOW + MINUTE)
    Job.objects.update(state="queued")
    claim = start(Job.objects.get(), NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE)
    decide_due(NOW + 3 * MINUTE)
    assert decisions(row) == [(MINUTE, "fired"), (2 * MINUTE, "skipped"), (3 * MINUTE, "buffered")]
    assert Job.objects.get().cancel_requested_at == NOW + 3 * MINUTE
    assert settle(claim, Succeeded(), NOW + 4 * MINUTE)
    assert release(NOW + 4 * MINUTE) == 1
    assert decisions(row)[-1] == (3 * MINUTE, "fired")


def test_replace_pending_puts_the_later_in_the_place_of_one_that_has_not_begun() -> None:
    row = after("replace_pending", 2)
    assert counted(row) == {"fired": 2}
    assert sorted(Job.objects.values_list("state", flat=True)) == ["cancelled", "pending"]
    Job.objects.filter(state="pending").update(state="queued")
    start(Job.objects.get(state="queued"), NOW + 2 * MINUTE)
    decide_due(NOW + 3 * MINUTE)
    assert decisions(row)[-1] == (3 * MINUTE, "skipped")


# -- several tenants ---------------------------------------------------------------------------------------------------


def test_a_schedule_for_several_tenants_is_one_decision_and_a_job_for_each() -> None:
    TenantSetting.objects.pause(["globex"], NOW, reason="moving house")
    row = define(tenants=["acme", "globex", "initech"], spread=HOUR)
    assert decide_due(NOW + MINUTE) == 1
    whole, held = Occurrence.objects.order_by("tenant")
    assert (whole.decision, whole.jobs, whole.job) == ("fired", 2, None)
    assert (held.tenant, held.decision, held.reason) == ("globex", "suppressed", "tenant paused: moving house")
    jobs = list(Job.objects.order_by("tenant"))
    assert [(job.tenant, job.occurrence) for job in jobs] == [("acme", whole.pk), ("initech", whole.pk)]
    assert all(NOW + MINUTE <= job.available_at < NOW + MINUTE + HOUR for job in jobs)
    end(jobs[0], NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE)
    last = Occurrence.objects.filter(schedule=row, tenant="").latest("due_at")
    assert (last.jobs, last.reason) == (1, "left out because an earlier job has not ended: 1")


def listing(*tenants: Any) -> Any:
    """The project's ``TENANTS``: names, and errors for those that are not ready."""
    return override_settings(
        TASKYARD={"TENANCY": "rows", "TENANTS": lambda name=None: iter(tenants) if name is None else name}
    )


def test_ten_thousand_tenants_are_one_occurrence_and_those_that_cannot_run_have_decisions_of_their_own() -> None:
    count = 10_000 if connection.vendor == "postgresql" else 500
    TenantSetting.objects.pause(["t7"], NOW, reason="moving house")
    row = define(tenants="each", spread=10 * MINUTE)
    names = [f"t{n}" for n in range(count - 1)]
    with listing(*names, TenantNotReady("limbo", "its schema is being made")):
        assert decide_due(NOW + MINUTE) == 1
    whole = Occurrence.objects.get(schedule=row, tenant="")
    assert (whole.decision, whole.jobs, whole.reason) == ("fired", count - 2, "")
    held = Occurrence.objects.exclude(tenant="").order_by("tenant")
    assert [(o.tenant, o.decision, o.reason, o.due_at) for o in held] == [
        ("limbo", "suppressed", "tenant not ready: its schema is being made", NOW + MINUTE),
        ("t7", "suppressed", "tenant paused: moving house", NOW + MINUTE),
    ]
    jobs = dict(Job.objects.values_list("tenant", "available_at"))
    assert set(jobs) == {*names} - {"t7"}
    starts = Counter((at - NOW - MINUTE) // MINUTE for at in jobs.values())
    assert sorted(starts) == list(range(10))
    assert max(starts.values()) <= 1.2 * count / 10
    assert set(Job.objects.values_list("occurrence", flat=True)) == {whole.pk}


def test_memory_does_not_grow_with_the_tenants_that_cannot_run() -> None:
    def peak(count: int) -> int:
        define(name=f"of {count}", tenants="each", recurrence=At(NOW + MINUTE))
        with listing(*(TenantNotReady(f"t{n}", "no") for n in range(count))):
            tracemalloc.start()
            assert decide_due(NOW + MINUTE) == 1
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert Occurrence.objects.filter(decision="suppressed", schedule__name=f"of {count}").count() == count
        return most

    peak(10)
    assert peak(4_000) < 2 * peak(1_000)


def test_a_listing_that_breaks_off_is_an_error_of_that_due_time_and_undoes_its_jobs() -> None:
    def tenants() -> Any:
        yield "acme"
        yield TenantNotReady("limbo")
        raise KeyError("accounts")

    row, other = define(tenants="each"), define(name="other")
    with override_settings(TASKYARD={"TENANCY": "rows", "TENANTS": tenants}):
        assert decide_due(NOW + MINUTE) == 2
    [occurrence] = Occurrence.objects.filter(schedule=row)
    assert (occurrence.decision, occurrence.jobs, occurrence.reason) == ("errored", 0, "KeyError: 'accounts'")
    assert [job.occurrence for job in Job.objects.all()] == [Occurrence.objects.get(schedule=other).pk]
    with listing("acme"):
        decide_due(NOW + 2 * MINUTE)
    assert decisions(row) == [(MINUTE, "errored"), (2 * MINUTE, "fired")]


def test_each_tenant_needs_tenancy_and_a_tenants_own_schedule_runs_for_itself() -> None:
    row = define(tenants="each")
    decide_due(NOW + MINUTE)
    row.refresh_from_db()
    assert "TENANCY is not set" in row.error
    with pytest.raises(InvalidSchedule, match="runs for that alone"):
        define(tenant="acme", tenants=["globex"])


# -- downtime ----------------------------------------------------------------------------------------------------------


OVERLAPS = ("allow", "skip", "buffer_one", "buffer_all", "cancel_running", "replace_pending")


def letters(row: Schedule) -> str:
    """The decision of each due time in order, by its first letter."""
    return "".join(decision[0] for _, decision in decisions(row))


def down_for(length: dt.timedelta, since: dt.datetime = NOW, **said: Any) -> Schedule:
    """A schedule of every hour that nobody decided about meanwhile."""
    row = define(since, recurrence=Every(HOUR), **said)
    while decide_due(since + length):
        pass
    return row


#: What docs/schedules.md says of each policy, after 26 hours in which 26 due times passed, the last of them just now.
#: What catches up nothing, or one, is the same whatever the overlap policy: there is but one run.
AFTER_26_HOURS = {
    **{("none", overlap): "m" * 25 + "f" for overlap in OVERLAPS},
    **{("one", overlap): "c" * 25 + "f" for overlap in OVERLAPS},
    ("all", "allow"): "f" * 26,
    ("all", "skip"): "f" + "s" * 25,
    ("all", "buffer_one"): "fb" + "s" * 24,
    ("all", "buffer_all"): "f" + "b" * 25,
    ("all", "cancel_running"): "f" + "s" * 24 + "b",
    ("all", "replace_pending"): "f" * 26,
    ("last_n", "allow"): "c" * 22 + "ffff",
    ("last_n", "skip"): "c" * 22 + "fsss",
    ("last_n", "buffer_one"): "c" * 22 + "fbss",
    ("last_n", "buffer_all"): "c" * 22 + "fbbb",
    ("last_n", "cancel_running"): "c" * 22 + "fssb",
    ("last_n", "replace_pending"): "c" * 22 + "ffff",
}


@pytest.mark.parametrize(("policy", "overlap"), AFTER_26_HOURS)
def test_after_26_hours_each_policy_does_what_its_sentence_says(policy: str, overlap: str) -> None:
    row = down_for(26 * HOUR, catch_up=policy, overlap=overlap, catch_up_count=3)
    expected = AFTER_26_HOURS[policy, overlap]
    assert letters(row) == expected
    # One job for each that fired; of those that took each other's place, or were cancelled for it, the last is left.
    assert Job.objects.count() == expected.count("f")
    left = {"cancel_running": int("b" not in expected), "replace_pending": 1}.get(overlap, expected.count("f"))
    assert Job.objects.active().count() == left
    # What waits runs one after the other, and nothing else is changed by that.
    for _ in range(expected.count("b")):
        all_ended(NOW + 26 * HOUR)
        assert release(NOW + 26 * HOUR) == 1
    assert letters(row) == expected.replace("b", "f")
    reasons = Occurrence.objects.exclude(decision="fired").values_list("reason", flat=True)
    assert all(reasons)


#: The same if a job from before has been running all the time.
BESIDE_A_RUNNING_JOB = {
    ("one", "allow"): "c" * 25 + "f",
    ("one", "skip"): "c" * 25 + "s",
    ("one", "buffer_one"): "c" * 25 + "b",
    ("one", "buffer_all"): "c" * 25 + "b",
    ("one", "cancel_running"): "c" * 25 + "b",
    ("one", "replace_pending"): "c" * 25 + "s",
    ("all", "allow"): "f" * 26,
    ("all", "skip"): "s" * 26,
    ("all", "buffer_one"): "b" + "s" * 25,
    ("all", "buffer_all"): "b" * 26,
    ("all", "cancel_running"): "s" * 25 + "b",
    ("all", "replace_pending"): "s" * 26,
}


@pytest.mark.parametrize(("policy", "overlap"), BESIDE_A_RUNNING_JOB)
def test_after_26_hours_beside_a_job_that_still_runs(policy: str, overlap: str) -> None:
    row = define(recurrence=Every(HOUR), catch_up=policy, overlap=overlap)
    decide_due(NOW + HOUR)
    Job.objects.update(state="queued")
    start(Job.objects.get(), NOW + HOUR)
    while decide_due(NOW + 27 * HOUR):
        pass
    assert letters(row) == "f" + BESIDE_A_RUNNING_JOB[policy, overlap]
    is_asked = Job.objects.filter(cancel_requested_at__isnull=False).exists()
    assert is_asked == (overlap == "cancel_running")


@pytest.mark.parametrize(
    ("policy", "window", "expected"),
    [
        ("none", None, "m" * 26), ("one", None, "c" * 25 + "f"), ("all", None, "f" * 26),
        ("last_n", None, "c" * 23 + "fff"),
        ("none", 3, "m" * 26), ("one", 3, "m" * 23 + "ccf"), ("all", 3, "m" * 23 + "fff"),
        ("last_n", 3, "m" * 23 + "cff"),
    ],
)  # fmt: skip
def test_after_26_hours_and_a_half_none_is_on_time_and_what_is_beyond_the_window_is_missed(
    policy: str, window: int | None, expected: str
) -> None:
    row = down_for(
        26 * HOUR + 30 * MINUTE, catch_up=policy, overlap="allow", catch_up_count=2 if window else 3,
        catch_up_window=window and window * HOUR,
    )  # fmt: skip
    assert letters(row) == expected


def test_many_missed_due_times_take_several_turns_and_end_in_one_run() -> None:
    row = define(recurrence=Every(SECOND), overlap="allow")
    turns, later = 0, NOW + HOUR
    while decide_due(later):
        turns += 1
    found = counted(row)
    assert (turns, found["coalesced"] + found["fired"]) == (4, 3600)
    assert found["fired"] == 61


def test_decisions_are_kept_for_so_long() -> None:
    row = define(overlap="buffer_one", name="slow")
    decide_due(NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE)
    decide_due(NOW + 3 * MINUTE)
    Pruner().run_once(NOW + dt.timedelta(days=90))
    assert len(decisions(row)) == 3
    Pruner().run_once(NOW + dt.timedelta(days=91))
    assert decisions(row) == [(2 * MINUTE, "buffered")]


def test_the_doctor_names_what_is_overdue_and_what_is_parked() -> None:
    assert list(diagnosis.schedules()) == []
    row = define(dt.datetime.now(dt.UTC), recurrence=At(dt.datetime.now(dt.UTC) + HOUR), tenant="acme")
    assert [(f.level.value, f.finding) for f in diagnosis.schedules()] == [("ok", "1, none overdue")]
    Schedule.objects.filter(pk=row.pk).update(next_at=dt.datetime.now(dt.UTC) - HOUR)
    [late] = diagnosis.schedules()
    assert (late.level.value, late.finding) == ("fail", "1 are overdue, the longest for 1 h")
    Schedule.objects.filter(pk=row.pk).update(next_at=None, error="No task named 'app.nobody'")
    [parked] = diagnosis.schedules()
    assert (parked.level.value, parked.name) == ("warn", "schedule acme:tick")
    assert parked.fix.endswith("taskyard schedules resume tick --tenant acme")


def test_the_agent_waits_until_the_next_due_time_and_not_long() -> None:
    scheduler = Scheduler()
    assert scheduler.run_once(NOW) == 0
    assert scheduler.pause(0, is_deaf=False) == dt.timedelta(seconds=2)
    assert scheduler.pause(0, is_deaf=True) == SECOND
    define(recurrence=At(NOW + SECOND / 2))
    scheduler.run_once(NOW)
    assert scheduler.pause(0, is_deaf=False) == SECOND / 2
    assert scheduler.run_once(NOW + SECOND) == 1


def test_what_another_scheduler_has_in_hand_is_not_asked_for_without_a_pause() -> None:
    scheduler = Scheduler()
    define(task="app.nobody")
    assert scheduler.run_once(NOW + MINUTE) == 0
    assert scheduler.pause(0, is_deaf=False) == dt.timedelta(milliseconds=100)


# -- processes that have imported no task ------------------------------------------------------------------------------

RUN_NOW = "from taskyard.schedules import Schedule; print(Schedule.objects.get().run_now().decision)"
AS_A_WORKER = """
from taskyard.celery import get_app
from taskyard.schedules import Schedule
from taskyard.schedules.scheduler import Scheduler
get_app().loader.import_default_modules()
row = Schedule.objects.get()
Scheduler().run_once(row.next_at)
print(row.occurrences.get().decision)
"""


@pytest.mark.parametrize("code", [RUN_NOW, AS_A_WORKER], ids=["run now", "a worker"])
def test_tasks_of_schedules_modules_are_found_where_nothing_was_imported(code: str, project: Project) -> None:
    Schedule.objects.define(name="tick", recurrence=Every(HOUR), task="app.beside_its_schedule")
    assert project.run_python(code).strip() == "fired"
