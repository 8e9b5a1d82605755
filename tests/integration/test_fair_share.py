"""The feeder among tenants: whose jobs it takes, what limits hold back, and through which indexes it finds them."""

import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings

from taskyard.errors import InvalidLimit
from taskyard.execution.outcome import RetryAt, Succeeded, Trouble
from taskyard.execution.rescuer import Rescuer
from taskyard.execution.settle import settle
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.rows.sql import Sql
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.models import QueueSetting, TenantSetting
from taskyard.outbox.share.tenants import Costs
from tests.integration.shelf import Shelf, put, register, start, statements
from tests.integration.test_plans import KEY, OUT, analyze, load, read_through

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def flood(jobs: int, *tenants: str, **values: Any) -> None:
    Job.objects.bulk_create(
        Job(id=uuid.uuid4(), tenant=tenant, **{
            "task": "app.nothing", "queue": "celery", "created_at": NOW,
            "available_at": NOW + number * SECOND / 1000, **values,
        })
        for number in range(jobs) for tenant in tenants
    )  # fmt: skip


class Play:
    """A feeder and workers that end what it feeds, each job after the time its tenant's jobs take."""

    def __init__(self, slots: int = 10, **seconds: float) -> None:
        self.shelf, self.now, self.slots, self.seconds = Shelf(), NOW + SECOND, slots, seconds
        self.feeder = Feeder(uuid.uuid4(), self.shelf)
        register(NOW, "celery", slots=slots)

    def turn(self, after: float = 0.1) -> list[str]:
        """One turn; the tenants whose jobs were fed, in their order."""
        self.now += after * SECOND
        self.shelf.published.clear()
        # A window of one job for each slot, however fast they end.
        with override_settings(TASKYARD={**settings.TASKYARD, "WINDOW_MAX": self.slots}):
            self.feeder.run_once(self.now)
        return [out.tenant for out in self.shelf.published]

    def finish(self) -> None:
        """End everything that is out."""
        for job in Job.objects.filter(lane=2):
            took = self.seconds.get(job.tenant, 0.01) * SECOND
            Job.objects.filter(id=job.id).update(
                state="succeeded", started_at=self.now, finished_at=self.now + took, claim=1
            )


def out(tenant: str) -> int:
    return Job.objects.filter(tenant=tenant, lane=2).count()


# -- shares ------------------------------------------------------------------------------------------------------------


def test_a_newcomer_is_fed_in_the_next_turn_whatever_stands_before_it() -> None:
    flood(200, "a")
    play = Play()
    for _ in range(3):
        assert set(play.turn()) == {"a"}
        play.finish()
    put(NOW + 2 * SECOND, tenant="b")

    order = play.turn()

    assert order.index("b") <= 1


def test_tenants_that_wait_take_turns_and_each_ones_jobs_stay_in_their_order() -> None:
    flood(100, "c", "a", "b")
    play = Play(slots=9)
    play.turn()
    play.finish()
    for _ in range(5):
        waiting = Job.objects.filter(tenant="a", lane=1).order_by("available_at")
        before = [job.id for job in waiting[:3]]
        order = play.turn()
        assert all(len(set(order[place : place + 3])) == 3 for place in range(0, len(order) - 2, 3))
        assert [job.id for job in play.shelf.published if job.tenant == "a"][:3] == before
        play.finish()


def test_run_time_is_shared_not_jobs() -> None:
    flood(400, "quick", "slow")
    play = Play(quick=0.1, slow=0.4)
    seen: Counter[str] = Counter()
    for number in range(40):
        fed = play.turn(after=0.5)
        seen.update(fed if number >= 10 else [])
        play.finish()
    assert seen["quick"] / seen["slow"] == pytest.approx(4, rel=0.1)


def test_what_attempts_that_did_not_succeed_took_counts_as_well() -> None:
    flood(300, "bad", "good", max_attempts=1000)
    play = Play(good=0.1)
    seen: Counter[str] = Counter()
    for number in range(40):
        fed = play.turn(after=0.5)
        seen.update(fed if number >= 10 else [])
        for job in Job.objects.filter(lane=2, tenant="bad"):
            owned = start(job, play.now)
            settle(owned, RetryAt(play.now, Trouble("E")), play.now + 0.3 * SECOND)
        play.finish()
    assert seen["good"] / seen["bad"] == pytest.approx(3, rel=0.15)


def test_weights_change_the_shares_at_once() -> None:
    flood(300, "a", "b")
    TenantSetting.objects.limit("b", weight=4)
    play = Play()
    for _ in range(2):
        play.turn()
        play.finish()
    assert Counter(play.turn()) == {"a": 2, "b": 8}
    play.finish()
    TenantSetting.objects.limit("b", weight=1)
    assert Counter(play.turn(after=0.5)) == {"a": 5, "b": 5}


def test_priority_comes_before_fairness() -> None:
    flood(100, "a", "b")
    flood(30, "a", priority=5)
    play = Play()
    fed = [play.turn() for _ in range(4) if not play.finish()]
    assert [set(order) for order in fed[:3]] == [{"a"}, {"a"}, {"a"}]
    assert Job.objects.filter(priority=5, lane=1).count() == 0
    assert Counter(fed[3]) == {"a": 5, "b": 5}


def test_what_one_tenant_does_not_use_is_anyones() -> None:
    flood(100, "a")
    flood(1, "b", "c")
    play = Play()
    assert Counter(play.turn()) == {"a": 8, "b": 1, "c": 1}


def test_a_flood_in_a_thousand_parts_is_one_tenants() -> None:
    flood(300, "b")
    for number in range(300):
        put(NOW, tenant="a", unique_key=f"k{number}", unique_lock=f"l{number}", task=f"app.t{number}")
    play = Play()
    play.turn()
    play.finish()
    assert Counter(play.turn()) == {"a": 5, "b": 5}


def test_the_first_batch_of_a_backlog_is_shared_as_well() -> None:
    flood(100, "a", "b")
    put(NOW, tenant="a", state="retrying", attempt=1, priority=-1)
    play = Play()
    assert Counter(play.turn()) == {"a": 5, "b": 5}
    assert Job.objects.filter(lane=2).count() == 10
    assert set(Job.objects.filter(lane=1, publishes=0, state="pending").values_list("tenant", flat=True)) == {"a", "b"}


def test_what_was_committed_late_is_found_within_a_second_for_each_tenant() -> None:
    flood(200, "a", "b")
    play = Play()
    for _ in range(3):
        play.turn()
        play.finish()
    late = put(NOW, tenant="a", available_at=NOW - 60 * SECOND)
    with statements() as seen:
        play.turn()
    assert late.id not in play.shelf.ids()
    if connection.vendor == "postgresql":
        # One statement takes for all of them, and it goes on where the last one ended.
        [(_, params)] = [(sql, params) for sql, params in seen if sql.startswith("UPDATE")]
        assert [moment != "-infinity" for moment in params[2]] == [True, True]
    play.finish()
    play.turn(after=1.1)
    assert late.id in play.shelf.ids()


def test_many_tenants_are_fed_one_job_each_before_anyone_has_two() -> None:
    flood(3, *(f"t{number:04}" for number in range(300)))
    play = Play(slots=150)
    fed: list[str] = []
    for _ in range(4):
        fed += play.turn(after=0.3)
        play.finish()
    assert len(fed) == 600
    assert set(Counter(fed[:300]).values()) == {1}
    assert set(Counter(fed).values()) == {2}
    while play.turn(after=0.3):
        play.finish()
    assert not Job.objects.filter(lane=1).exists()


def test_one_tenant_costs_no_statement_more_than_a_look_for_others() -> None:
    flood(200, "a")
    play = Play()
    play.turn()
    play.finish()
    with statements() as seen:
        play.turn()
    looks = [sql for sql, _ in seen if "tenant" in sql and not sql.startswith("UPDATE") and "SKIP LOCKED" not in sql]
    looks = [sql for sql in looks if "tenantsetting" not in sql]
    assert len(looks) == 1
    assert len([sql for sql, _ in seen if sql.startswith("UPDATE taskyard_job")]) <= 2


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_paused_tenant_is_held_back_within_a_second_and_what_is_out_runs_on() -> None:
    flood(100, "a", "b")
    play = Play()
    play.turn()
    play.finish()
    play.turn()
    before = out("a")

    assert TenantSetting.objects.pause(["a", "a"], NOW, by="ann", reason="floods") == 1
    assert TenantSetting.objects.pause(["a"], NOW) == 0
    play.turn(after=0.5)
    assert out("a") == before
    play.finish()
    assert set(play.turn()) == {"b"}
    row = TenantSetting.objects.get(tenant="a")
    assert (row.paused_at, row.paused_by, row.reason, row.weight) == (NOW, "ann", "floods", 1.0)

    assert TenantSetting.objects.resume(["a", "b"]) == 1
    play.finish()
    assert Counter(play.turn(after=0.5)) == {"a": 5, "b": 5}


def test_a_tenant_has_no_more_out_than_it_may_over_all_queues_and_dead_workers_hold_nothing() -> None:
    flood(50, "a")
    flood(50, "a", queue="other")
    register(NOW, "other", slots=10)
    TenantSetting.objects.limit("a", max_running=4)
    play = Play()
    for _ in range(3):
        play.turn()
        assert out("a") == 4
    worker = uuid.uuid4()
    for job in Job.objects.filter(lane=2):
        start(job, play.now, worker)
    assert play.turn() == []
    assert play.feeder.pause(0, is_deaf=False) <= SECOND / 10

    clock = iter(range(100))
    rescuer = Rescuer(lambda: float(next(clock)))
    while not rescuer.run_once(play.now):
        pass
    register(play.now, "celery", slots=10)
    register(play.now, "other", slots=10)
    assert len(play.turn()) == 4

    TenantSetting.objects.limit("a", max_running=6)
    assert len(play.turn(after=0.5)) == 2
    TenantSetting.objects.limit("a", max_running=1)
    play.turn(after=0.5)
    assert out("a") == 6
    TenantSetting.objects.limit("a", max_running=None)
    assert len(play.turn(after=0.5)) > 6


def test_two_feeders_do_not_give_a_limited_tenant_twice_as_much() -> None:
    flood(50, "a")
    flood(50, "a", queue="other")
    register(NOW, "other", slots=10)
    one, two = Play(), Play()
    one.feeder.leases.hold("feeder:celery", NOW)
    two.feeder.leases.hold("feeder:other", NOW)
    TenantSetting.objects.limit("a", max_running=4)
    for _ in range(3):
        one.turn()
        two.turn()
    assert out("a") == 4
    # And when the one that acts is gone, the other takes over.
    one.feeder.stop()
    play = two
    play.finish()
    while not play.turn(after=1):
        assert play.now < NOW + 30 * SECOND
    assert out("a") == 4


def test_a_rate_is_so_many_starts_in_its_time() -> None:
    flood(100, "a", "b")
    TenantSetting.objects.limit("a", rate=10, per=SECOND)
    play = Play(slots=40)
    fed: Counter[str] = Counter()
    for _ in range(20):
        fed.update(play.turn(after=0.1))
        play.finish()
    assert 18 <= fed["a"] <= 10 * 2 + 3
    assert fed["b"] == 100


def test_a_queue_has_limits_of_its_own() -> None:
    flood(100, "")
    QueueSetting.objects.limit("celery", max_running=3)
    play = Play()
    assert len(play.turn()) == 3
    assert play.turn() == []
    assert play.feeder.pause(0, is_deaf=False) <= SECOND / 10
    play.finish()
    QueueSetting.objects.limit("celery", max_running=None, rate=60, per=60 * SECOND)
    for _ in range(5):
        play.turn(after=0.1)
        play.finish()
    fed = 0
    for _ in range(50):
        fed += len(play.turn(after=0.1))
        play.finish()
    assert 4 <= fed <= 6


def test_a_queue_at_its_limit_does_not_hold_back_a_less_urgent_one() -> None:
    with override_settings(TASKYARD={"QUEUES": ["high", "celery"]}):
        flood(50, "a", queue="high")
        flood(50, "a")
        register(NOW, "high", "celery", slots=4)
        QueueSetting.objects.limit("high", max_running=1)
        play = Play(slots=5)
        for _ in range(4):
            play.turn()
    assert Job.objects.filter(lane=2, queue="high").count() == 1
    assert Job.objects.filter(lane=2, queue="celery").count() >= 3


@override_settings(TASKYARD={"HANDOVER": ["legacy"]})
def test_a_paused_tenants_jobs_are_not_handed_over_either() -> None:
    flood(2, "a", "b", queue="legacy")
    TenantSetting.objects.pause(["a"], NOW)
    play = Play()
    play.turn()
    assert [job.tenant for job, _, _ in play.shelf.in_full] == ["b", "b"]


def test_one_name_is_not_taken_for_its_letters() -> None:
    assert TenantSetting.objects.pause("acme", NOW) == 1
    assert [row.tenant for row in TenantSetting.objects.paused()] == ["acme"]
    assert TenantSetting.objects.resume("acme") == 1


def test_what_is_not_given_stays_and_none_takes_away() -> None:
    TenantSetting.objects.limit("a", weight=2, max_running=5)
    TenantSetting.objects.limit("a", rate=30, per=dt.timedelta(minutes=1))
    row = TenantSetting.objects.limit("a", max_running=None)
    assert (row.weight, row.max_running, row.rate, row.rate_seconds) == (2, None, 30, 60)
    assert TenantSetting.objects.count() == 1


@pytest.mark.parametrize(
    "values",
    [
        {"weight": 0}, {"weight": float("nan")}, {"weight": "3"}, {"weight": None}, {"max_running": -1},
        {"max_running": 2.5}, {"max_running": "5"}, {"max_running": 2**31}, {"rate": -1}, {"rate": "9"},
        {"rate": 1, "per": dt.timedelta(0)}, {"rate": 1, "per": 60},
    ],
)  # fmt: skip
def test_a_limit_that_means_nothing_is_refused_and_says_which(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidLimit, match=f"{list(values)[-1]}=.*'a'"):
        TenantSetting.objects.limit("a", **values)
    assert not TenantSetting.objects.exists()


# -- plans -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fresh", "of an empty table"])
def crowded(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """50,000 jobs of 40 tenants."""
    is_postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        if is_postgres:
            cursor.execute("ALTER TABLE taskyard_job SET (autovacuum_enabled = off)")
            cursor.execute("TRUNCATE taskyard_job CASCADE")
        analyze()
        load()
        tenant = {"sqlite": "'t' || (abs(random()) % 40)", "mysql": "concat('t', floor(rand() * 40))"}.get(
            connection.vendor, "'t' || floor(random() * 40)"
        )
        cursor.execute(f"UPDATE taskyard_job SET tenant = {tenant}, started_at = finished_at")
        if request.param == "fresh":
            analyze()
        yield request.param
        if is_postgres:
            cursor.execute("ALTER TABLE taskyard_job RESET (autovacuum_enabled)")


def test_every_statement_of_a_fair_turn_reads_the_job_table_through_its_index(crowded: str) -> None:
    register(NOW, "celery", "low", "high", slots=40)
    TenantSetting.objects.limit("t1", max_running=3)
    few = Feeder(uuid.uuid4(), Shelf())
    Job.objects.filter(lane=2).update(state="succeeded", finished_at=NOW)
    few.run_once(NOW)
    few.run_once(NOW + SECOND)
    Job.objects.filter(lane=2).update(state="succeeded", finished_at=NOW + 2 * SECOND)
    wanted = {"taskyard_job_feed", "taskyard_job_later", "taskyard_job_finished", *OUT, KEY}

    read = read_through(lambda: few.run_once(NOW + 5 * SECOND))

    assert any("t.tenant" in sql for sql in read)
    assert any("finished_at >=" in sql for sql in read)
    strays = {sql[:300]: list(used) for sql, used in read.items() if used - wanted}
    assert not strays, f"with statistics {crowded}: {json.dumps(strays, indent=1)}"


def test_the_settle_of_a_job_that_was_fed_fairly_is_its_own() -> None:
    flood(5, "a", "b")
    play = Play()
    play.turn()
    for job in Job.objects.filter(lane=2):
        assert settle(start(job, play.now), Succeeded("1"), play.now)
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}


# -- what nobody meant


@pytest.mark.parametrize("values", [{"weight": 0.0}, {"weight": -2.0}, {"rate": 5.0, "rate_seconds": 0.0}])
def test_a_row_that_means_nothing_holds_nobody_up(values: dict[str, Any]) -> None:
    flood(50, "a", "b")
    # Past limit(), which would refuse it.
    TenantSetting.objects.create(tenant="a", **values)
    play = Play()
    for _ in range(5):
        assert "b" in play.turn(after=0.5)
        play.finish()


def test_attempts_of_a_time_when_nobody_had_to_share_are_not_charged_to_what_is_out_now() -> None:
    costs, sql = Costs(), Sql("default")
    assert costs.ended(sql, NOW) == []
    for number in range(3):
        job = put(NOW, tenant="a", state="failed", attempt=1, finished_at=NOW + SECOND)
        Attempt.objects.create(job=job, number=1, error_type="E", started_at=NOW, ended_at=NOW + number * SECOND)
    assert [ended.jobs for ended in costs.ended(sql, NOW + SECOND)] == [3]
    put_one = Attempt.objects.create(job=job, number=2, error_type="E", started_at=NOW, ended_at=NOW + 9 * SECOND)
    assert costs.ended(sql, NOW + 3600 * SECOND) == []
    Attempt.objects.create(job=put_one.job, number=3, error_type="E", started_at=NOW, ended_at=NOW)
    assert [ended.jobs for ended in costs.ended(sql, NOW + 3601 * SECOND)] == [1]


def test_jobs_that_nobody_is_there_to_run_do_not_use_up_what_their_tenant_may_have_out() -> None:
    flood(5, "a", queue="nightly")
    flood(50, "a")
    TenantSetting.objects.limit("a", max_running=2)
    play = Play()
    for _ in range(10):
        play.turn()
        assert out("a") <= 2
        Job.objects.filter(lane=2, queue="celery").update(
            state="succeeded", started_at=play.now, finished_at=play.now, claim=1
        )
    assert Job.objects.filter(queue="celery", state="succeeded").count() >= 16


def test_what_stood_in_line_for_workers_that_are_gone_does_not_hold_its_tenant_up() -> None:
    flood(5, "a", queue="nightly")
    worker = register(NOW, "nightly", slots=2)
    TenantSetting.objects.limit("a", max_running=2)
    play = Play()
    play.turn()
    assert Job.objects.filter(lane=2, queue="nightly").count() == 2
    flood(50, "a")
    worker.delete()
    for _ in range(5):
        play.turn(after=1.1)
    assert Job.objects.filter(lane=2, queue="celery").count() == 2
    register(play.now, "nightly", slots=2)
    play.finish()
    for _ in range(3):
        play.turn(after=1.1)
    assert Job.objects.filter(lane=2, queue="nightly").exists()
    assert out("a") == 2
