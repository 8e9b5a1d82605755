"""What probes and pages answer, by rows."""

import datetime as dt
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.test import Client

from taskyard.celery import health as broker_health
from taskyard.entrypoint.commands import health as command
from taskyard.models import Lease, Worker
from taskyard.monitoring import probe, processes, troubles
from taskyard.monitoring.diagnosis import agents, broker
from taskyard.monitoring.moving import STALLED
from taskyard.runtime import ticks
from taskyard.runtime.heartbeat import Heartbeat, SchedulerHeartbeat
from tests.integration.shelf import put

pytestmark = pytest.mark.django_db

MINUTE = dt.timedelta(minutes=1)
TOKEN = "t" * 32


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def tick(late: dt.timedelta = dt.timedelta(0), *, failures: int = 0) -> dict[str, Any]:
    return ticks.Tick(now() - late, now() - late, failures).as_json()


def carrying(role: str = "worker", *, name: str = "w", host: str = "", **values: Any) -> Worker:
    """A process of this host, with all agents turning unless said otherwise."""
    host = host or socket.gethostname()
    turning = {one: tick() for one in ("feeder", "rescuer", "scheduler", "pruner")}
    pulse = {"agents": {**turning, **values.pop("agents", {})}, **values.pop("pulse", {})}
    row = {"queues": ["celery"], "slots": 2, "pid": 1, "started_at": now() - MINUTE * 60, "heartbeat_at": now()}
    made: Worker = Worker.objects.create(
        id=uuid.uuid4(), role=role, name=f"{name}@{host}", host=host, pulse=pulse, **{**row, **values}
    )
    return made


def asked(role: str = "worker", **said: Any) -> probe.Answer:
    return probe.answer(role, now(), **said)


# -- probes


def test_a_host_without_the_process_fails_its_probe() -> None:
    carrying(host="elsewhere")
    answer = asked()
    assert not answer.is_moving
    assert "no worker on" in answer.says[0]
    assert asked(name="w@elsewhere").is_moving


def test_every_worker_of_the_host_must_move_or_the_one_that_is_named() -> None:
    carrying(name="good")
    carrying(name="bad", agents={"feeder": tick(STALLED + MINUTE)})
    answer = asked()
    assert not answer.is_moving
    assert [says for says in answer.says if "bad" in says] == list(answer.says)
    assert asked(name="good").is_moving
    assert not asked(name="bad").is_moving


def test_what_a_killed_predecessor_left_behind_does_no_harm() -> None:
    carrying(started_at=now() - MINUTE * 90, heartbeat_at=now() - MINUTE)
    assert not asked().is_moving
    carrying(started_at=now() - MINUTE)
    assert asked().is_moving


def test_a_scheduler_is_judged_by_its_agents_alone_wherever_they_are() -> None:
    carrying(agents={"consumer": tick(2 * STALLED)})
    assert not asked("worker").is_moving
    assert asked("scheduler").is_moving
    alone = carrying("scheduler", name="scheduler", slots=0, queues=[], agents={"scheduler": tick(2 * STALLED)})
    answer = asked("scheduler")
    assert not answer.is_moving
    assert answer.says[0].startswith(f"scheduler {alone.name}: its scheduler's thread is stuck")


def test_a_host_whose_workers_carry_no_agents_has_no_scheduler() -> None:
    worker = carrying()
    Worker.objects.filter(id=worker.id).update(pulse={"agents": {"consumer": tick()}})
    assert not asked("scheduler").is_moving


@pytest.mark.parametrize(
    ("job", "is_moving"),
    [
        ({}, False),
        ({"published_at": dt.timedelta(0)}, True),
        ({"published_at": dt.timedelta(0), "publishes": 5}, False),
        ({"queue": "elsewhere"}, True),
        ({"state": "running"}, True),
        ({"worker": uuid.uuid4()}, True),
    ],
)
def test_a_worker_that_begins_nothing_is_told_by_the_jobs_that_wait_for_it(
    job: dict[str, Any], is_moving: bool
) -> None:
    worker = carrying(pulse={"claimed_at": (now() - 4 * MINUTE).isoformat()})
    age = job.pop("published_at", 4 * MINUTE)
    put(now(), **{"state": "queued", "published_at": now() - age, **job})
    assert asked().is_moving is is_moving
    Worker.objects.filter(id=worker.id).update(pulse={**worker.pulse, "in_hand": 2})
    assert asked().is_moving


def test_a_worker_of_an_older_version_is_judged_by_its_heartbeat() -> None:
    worker = carrying()
    Worker.objects.filter(id=worker.id).update(pulse=None)
    assert asked().is_moving


def test_web_could_serve_while_the_tables_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked("web").is_moving
    monkeypatch.setattr(troubles, "_applied", lambda alias: {"0001_initial"})
    answer = asked("web")
    assert not answer.is_moving
    assert "0008_pulse" in answer.says[0]


def test_the_rows_read_without_models_are_those_of_the_models() -> None:
    worker = carrying(pulse={"claimed_at": now().isoformat(), "in_hand": 1, "is_connecting": True})
    assert Worker._meta.db_table == processes.WORKERS
    [found] = processes.read_processes(processes.Sql("default"))
    worker.refresh_from_db()
    assert (found.id, found.heartbeat_at, found.queues) == (worker.id, worker.heartbeat_at, ("celery",))
    assert (found.in_hand, found.is_connecting) == (1, True)
    assert found.agents["feeder"].as_json() == worker.pulse["agents"]["feeder"]


# -- what is written


def test_a_heartbeat_carries_the_ticks_of_its_process_and_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "_ticks", {})
    at = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
    ticks.note("feeder", at, wait_seconds=2.0, failures=3)
    ticks.note("gone", at)
    ticks.forget("gone")
    beat = Heartbeat(uuid.uuid4(), name="w@h", queues=["celery"], slots=2, doing=lambda now: {"in_hand": 1})
    beat.run_once(at)
    beat.run_once(at)
    feeder = {"at": at.isoformat(), "next_at": (at + dt.timedelta(seconds=2)).isoformat(), "failures": 3}
    row = Worker.objects.get()
    assert (row.role, row.pulse) == ("worker", {"in_hand": 1, "agents": {"feeder": feeder}})
    SchedulerHeartbeat(uuid.uuid4(), name="scheduler@h").run_once(at)
    assert Worker.objects.filter(role="scheduler", slots=0, queues=[]).count() == 1


# -- doctor


def test_doctor_names_stuck_threads_failing_turns_and_agents_that_nobody_carries() -> None:
    assert list(agents.agents()) == [], "no worker at all is another check's finding"
    good = carrying()
    [finding] = agents.agents()
    assert (finding.level, finding.finding) == ("ok", "4 in 1 process, all of them moving")
    Worker.objects.filter(id=good.id).update(
        pulse={"agents": {"feeder": tick(2 * STALLED), "pruner": tick(failures=3)}}
    )
    found = {(one.name, one.level): one for one in agents.agents()}
    assert "its feeder's thread is stuck" in found[f"worker {good.name}", "fail"].finding
    assert "the last 3 turns of its pruner" in found[f"worker {good.name}", "warn"].finding
    assert "rescuer, scheduler" in found["agents", "fail"].finding


# -- over HTTP


@pytest.fixture
def client(settings: Any) -> Iterator[Client]:
    settings.ROOT_URLCONF = "taskyard.monitoring.urls"
    settings.TASKYARD = {**settings.TASKYARD, "HEALTH_TOKENS": [TOKEN]}
    yield Client()


def away(*_: object, **__: object) -> None:
    raise OperationalError("could not connect to hunter2")


def test_a_process_lives_and_is_ready(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/livez").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (200, {"database": "ok", "migrations": "ok"})
    assert "no-store" in answer["Cache-Control"]
    assert client.post("/livez").status_code == 405


@pytest.mark.parametrize("is_first", [False, True])
def test_a_process_whose_database_is_away_lives_and_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: pytest.LogCaptureFixture, is_first: bool
) -> None:
    if is_first:
        settings.ROOT_URLCONF = "tests.urls"
        settings.MIDDLEWARE = ["taskyard.monitoring.views.HealthMiddleware", *settings.MIDDLEWARE]
    monkeypatch.setattr(troubles, "_applied", away)
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "fail", "checks": {"database": "fail"}})
    assert "hunter2" in caplog.text
    monkeypatch.setattr(troubles, "_applied", lambda alias: {"0001_initial"})
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["migrations"]) == (503, "fail")


def test_probes_are_answered_before_a_host_is_refused(settings: Any) -> None:
    settings.ROOT_URLCONF, settings.ALLOWED_HOSTS = "tests.urls", ["shop.example"]
    common = "django.middleware.common.CommonMiddleware"
    settings.MIDDLEWARE = [common]
    assert Client().get("/livez", headers={"host": "10.0.0.7"}).status_code == 400
    settings.MIDDLEWARE = ["taskyard.monitoring.views.HealthMiddleware", common]
    assert Client().get("/livez", headers={"host": "10.0.0.7"}).status_code == 200


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its look would be of another connection than this test's transaction."""
    monkeypatch.setattr(broker_health, "broker_round_trip", lambda timeout: 0.001)
    monkeypatch.setattr(broker, "_looking", [])


def read(client: Client, **headers: str) -> Any:
    return client.get("/healthz", headers=headers or {"authorization": f"Bearer {TOKEN}"})


def test_health_in_depth_tells_who_does_what_and_what_is_wrong(client: Client, no_broker: None) -> None:
    worker = carrying(pulse={"claimed_at": now().isoformat()})
    Lease.objects.create(name="feeder:celery", owner=worker.id, expires_at=now() + MINUTE)
    put(now())
    answer = read(client)
    found = answer.json()
    levels = {check["name"]: check["level"] for check in found["checks"]}
    assert {levels[name] for name in ("migrations", "broker", "workers", "agents", "queues")} == {"ok"}
    assert (answer.status_code, found["status"] in ("ok", "warn")) == (200, True)
    [queue] = found["queues"]
    assert (queue["name"], queue["due"], queue["workers"], queue["slots"]) == ("celery", 1, 1, 2)
    assert queue["oldest_due_at"]
    [process] = found["processes"]
    assert process["claimed_at"]
    assert process["agents"]["feeder"]["next_at"]
    assert [(lease["name"], lease["held_by"]) for lease in found["leases"]] == [("feeder:celery", worker.name)]

    Worker.objects.update(pulse={"agents": {"feeder": tick(2 * STALLED)}})
    answer = read(client)
    assert (answer.status_code, answer.json()["status"]) == (503, "fail")
    assert any("is stuck" in check["finding"] and check["fix"] for check in answer.json()["checks"])


def test_health_in_depth_is_for_those_who_may(client: Client, no_broker: None) -> None:
    assert client.get("/healthz").status_code == 401
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}ü"):
        assert read(client, authorization=wrong).status_code == 401, wrong
    user = User.objects.create_user("reader")
    client.force_login(user)
    assert client.get("/healthz").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_worker"))
    assert client.get("/healthz").status_code == 200


def test_health_in_depth_without_a_database_says_so(
    client: Client, no_broker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "ensure_connection", away)
    answer = read(client)
    assert answer.status_code == 503
    [check] = answer.json()["checks"]
    assert (check["name"], check["level"]) == ("database", "fail")


def test_a_broker_that_hangs_is_asked_once(monkeypatch: pytest.MonkeyPatch, no_broker: None) -> None:
    asked, go = [], threading.Event()

    def hang(timeout: dt.timedelta) -> float:
        asked.append(timeout)
        go.wait()
        return 0.001

    monkeypatch.setattr(broker_health, "broker_round_trip", hang)
    monkeypatch.setattr(broker, "_SHORT_TIMEOUT", dt.timedelta(milliseconds=20))
    for _ in range(2):
        [finding] = broker.answers()
        assert (finding.level, len(asked)) == ("fail", 1)
    go.set()
    broker._looking[0].join()
    [finding] = broker.answers()
    assert (finding.level, len(asked)) == ("ok", 2)


# -- the command


@pytest.mark.django_db(transaction=True)
def test_the_command_says_it_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError) as ended:
        call_command("taskyard", "health", "--role", "worker")
    assert ended.value.returncode == 1
    assert capsys.readouterr().out.startswith("FAIL  no worker on")
    carrying()
    call_command("taskyard", "health", "--role", "worker", "--json")
    assert json.loads(capsys.readouterr().out)["status"] == "ok"


def test_a_database_that_does_not_answer_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = threading.Event()
    monkeypatch.setattr(command, "_ask", lambda options: go.wait())
    words = ["taskyard", "health", "--role", "worker", "--timeout", "0.02s"]
    with pytest.raises(CommandError) as ended:
        call_command(*words)
    assert ended.value.returncode == 3
    assert "did not answer within 0.02 s" in capsys.readouterr().out
    call_command(*words, "--lenient")
    go.set()


def test_the_database_is_asked_for_little() -> None:
    worker = carrying()
    put(now(), state="queued", published_at=now(), queue=worker.queues[0])
    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        assert asked().is_moving
    assert len(seen) == 2
