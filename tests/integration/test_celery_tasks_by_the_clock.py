"""Schedules of tasks that are Celery's alone: with their options, by name, and for each tenant."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from celery.schedules import crontab, solar

from taskyard.celery import get_app
from taskyard.celery.beat import Scheduler as BeatScheduler
from taskyard.errors import InvalidSchedule
from taskyard.jobs.models import Job
from taskyard.schedules import Every
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.scheduler import Scheduler, decide_due
from tests.app.tasks import nothing

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def define(**said: Any) -> Schedule:
    values = {"name": "tick", "recurrence": Every(MINUTE), "task": "tests.app.plain.double", "args": [2], **said}
    return Schedule.objects.define(now=NOW, **values)


def test_a_shared_task_runs_with_the_options_of_its_declaration() -> None:
    define(task="tests.app.plain.retries_with_other_arguments", by="system")
    decide_due(NOW + MINUTE)
    job = Job.objects.get()
    assert (job.args, job.max_attempts, job.queue, job.created_by) == ([2], 3, "celery", "system")
    assert (job.created_at, job.available_at) == (NOW + MINUTE, NOW + MINUTE)


def test_the_overlap_policy_holds_for_it() -> None:
    define()
    decide_due(NOW + MINUTE)
    decide_due(NOW + 2 * MINUTE)
    assert list(Occurrence.objects.order_by("due_at").values_list("decision", flat=True)) == ["fired", "skipped"]


def test_options_of_the_message_arrive() -> None:
    options = {"headers": {"colour": "red"}, "expires": 90, "time_limit": 30}
    define(options=options, queue="low", priority=5)
    decide_due(NOW + MINUTE)
    job = Job.objects.get()
    assert (job.queue, job.priority, job.time_limit) == ("low", 5, 30)
    assert job.expires_at == NOW + MINUTE + dt.timedelta(seconds=90)
    assert job.message["headers"]["colour"] == "red"


def test_a_declared_task_takes_options_too() -> None:
    define(task=nothing, args=[], options={"headers": {"colour": "red"}})
    decide_due(NOW + MINUTE)
    assert Job.objects.get().message["headers"]["colour"] == "red"


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidSchedule, match="options must be a dict with some of headers"):
        define(options={"countdown": 3})
    with pytest.raises(InvalidSchedule, match="JSON"):
        define(options={"headers": {"when": NOW}})


def test_a_task_of_other_code_runs_by_its_name_if_somebody_says_whose_it_is(settings: Any) -> None:
    define(task="other_site.tasks.rebuild", queue="other")
    decide_due(NOW + MINUTE)
    assert Job.objects.values_list("task", "queue").get() == ("other_site.tasks.rebuild", "other")


def test_a_route_says_whose_it_is(routes: Any) -> None:
    routes({"other_site.*": {"queue": "other"}})
    define(task="other_site.tasks.rebuild")
    decide_due(NOW + MINUTE)
    assert Job.objects.get().queue == "other"


@pytest.fixture
def routes() -> Iterator[Any]:
    app = get_app()

    def say(table: Any) -> None:
        app.conf.task_routes = table
        app.amqp.flush_routes()
        app.amqp.__dict__.pop("router", None)

    yield say
    say(None)


def test_a_name_that_nobody_knows_is_parked_after_a_minute_for_others() -> None:
    row = define(task="tests.app.plain.duoble")
    decide_due(NOW + MINUTE)
    assert not Occurrence.objects.exists()
    decide_due(NOW + 3 * MINUTE)
    row.refresh_from_db()
    assert "Did you mean 'tests.app.plain.double'?" in row.error


def untracked() -> None: ...


def test_a_task_without_rows_is_refused(settings: Any) -> None:
    app = get_app()
    app.task(name="tests.untracked_tick", tracked=False)(untracked)
    row = define(task="tests.untracked_tick", args=[])
    decide_due(NOW + MINUTE)
    row.refresh_from_db()
    assert "leave no row" in row.error
    assert not Job.objects.exists()


def test_a_task_that_sends_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_app().tasks["tests.app.plain.double"], "apply_async", lambda *_, **__: None, raising=False)
    row = define()
    decide_due(NOW + MINUTE)
    row.refresh_from_db()
    assert "sent 0 messages" in row.error


def test_each_tenant_gets_its_own_with_the_same_message(settings: Any) -> None:
    settings.TASKYARD = {
        **settings.TASKYARD,
        "TENANCY": "rows",
        "TENANTS": lambda name=None: name or ["acme", "globex"],
    }
    define(
        args=[], kwargs={"x": 3}, tenants=["acme", "globex"], options={"headers": {"colour": "red"}}, queue="low",
        by="system",
    )  # fmt: skip
    decide_due(NOW + MINUTE)
    jobs = list(Job.objects.order_by("tenant"))
    assert [(job.tenant, job.kwargs, job.queue, job.created_by) for job in jobs] == [
        ("acme", {"x": 3}, "low", "system"), ("globex", {"x": 3}, "low", "system"),
    ]  # fmt: skip
    assert {job.message["headers"]["colour"] for job in jobs} == {"red"}
    assert len({job.root for job in jobs}) == 2
    decide_due(NOW + 2 * MINUTE)
    # The overlap policy holds for each.
    assert Job.objects.count() == 2


def test_a_tenants_schedule_runs_for_that_tenant(settings: Any) -> None:
    settings.TASKYARD = {**settings.TASKYARD, "TENANCY": "rows", "TENANTS": lambda name=None: name or ["acme"]}
    define(tenant="acme")
    decide_due(NOW + MINUTE)
    assert Job.objects.get().tenant == "acme"


# -- celery beat -S taskyard.celery.beat:Scheduler ---------------------------------------------------------------------


@pytest.fixture
def beat_schedule() -> Iterator[Any]:
    app = get_app()

    def said(**entries: Any) -> BeatScheduler:
        app.conf.beat_schedule = entries
        return BeatScheduler(app)

    yield said
    app.conf.beat_schedule = {}


def is_due_now() -> None:
    now = dt.datetime.now(dt.UTC)
    Schedule.objects.update(next_at=now - MINUTE, decided_until=now - 2 * MINUTE)


def entry(**said: Any) -> dict[str, Any]:
    return {"task": "tests.app.plain.double", "schedule": 60.0, "args": (1,), **said}


def test_a_beat_process_decides_about_our_schedules(beat_schedule: Any) -> None:
    define()
    is_due_now()
    assert 0 <= beat_schedule().tick() <= 300
    assert Job.objects.exists()


def test_entries_of_the_app_follow_the_code(beat_schedule: Any) -> None:
    beat_schedule(often=entry(), nightly=entry(schedule=crontab(minute=0, hour=3), options={"queue": "low"}))
    rows = {row.name: row for row in Schedule.objects.all()}
    assert rows["nightly"].recurrence["expression"] == "0 3 * * *"
    assert (rows["nightly"].queue, rows["often"].overlap) == ("low", "allow")
    assert {(row.origin, row.keeper) for row in rows.values()} == {("celery-beat-schedule:taskyard", "beat:taskyard")}
    Schedule.objects.filter(name="often").update(args=[9])
    define(name="ours")
    beat_schedule(often=entry())
    assert set(Schedule.objects.values_list("name", flat=True)) == {"often", "ours"}
    assert Schedule.objects.get(name="often").args == [1]
    version = Schedule.objects.get(name="often").version
    beat_schedule(often=entry())
    assert Schedule.objects.get(name="often").version == version


def test_entries_run_while_such_a_beat_does(beat_schedule: Any) -> None:
    beat = beat_schedule(often=entry())
    is_due_now()
    assert Scheduler().run_once(dt.datetime.now(dt.UTC)) == 0
    beat.tick()
    assert Job.objects.get().args == [1]


def test_what_cannot_be_said_of_entries_is_logged_and_stops_no_other(
    beat_schedule: Any, caplog: pytest.LogCaptureFixture
) -> None:
    beat_schedule(
        often=entry(), sun=entry(schedule=solar("sunset", 48, 12)), half=entry(schedule=0.5),
        late=entry(options={"countdown": 3}), unknown=entry(colour="red"),
    )  # fmt: skip
    assert set(Schedule.objects.values_list("name", flat=True)) == {"often"}
    for reason in ("kind solar", "whole seconds", "option 'countdown'", "'colour' cannot be kept"):
        assert reason in caplog.text


def test_entries_for_schemas_are_for_tenants(beat_schedule: Any) -> None:
    beat_schedule(
        each=entry(tenant_schemas=None, args=()), some=entry(tenant_schemas=["acme", "public"], args=()), one=entry()
    )
    tenants = dict(Schedule.objects.values_list("name", "tenants"))
    assert tenants == {"each": "each", "some": ["acme"], "some@public": None, "one": None}
