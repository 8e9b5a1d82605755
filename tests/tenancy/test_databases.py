"""What is special where each tenant has a database of its own: aliases, the router, and the outbox."""

import asyncio
import contextvars
import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from billiard.exceptions import SoftTimeLimitExceeded
from celery import chord
from django.conf import settings
from django.core import checks
from django.core.management import call_command
from django.db import ConnectionHandler, OperationalError, connections, transaction
from django.db.utils import ConnectionDoesNotExist
from django.test import override_settings
from django.utils import timezone

if settings.KIND != "databases":
    pytest.skip("tenants have no databases of their own here", allow_module_level=True)

from taskyard import enqueue_many
from taskyard.celery.attempt.connections import discard_left_open
from taskyard.enqueue import INTAKE
from taskyard.errors import ConfigurationError, DuplicateJob, NoTenant, TenantMismatch, UnknownTenant
from taskyard.models import Job, OutboxMessage, RelayedMessage
from taskyard.outbox import relay as relaying
from taskyard.outbox.relay import Relay, relay
from taskyard.tenancy import aliases as aliasing
from taskyard.tenancy import set_tenant, tenant_context
from taskyard.tenancy.databases import database_of, migrate_tenant
from taskyard.testing import faults
from tests.servers import wait_until
from tests.tenancy import files, kinds
from tests.tenancy.clients.directory import database
from tests.tenancy.clients.models import Client
from tests.tenancy.conftest import TenantProject
from tests.tenancy.shop import tasks
from tests.tenancy.shop.models import Visit
from tests.workers import wait_for_state

pytestmark = pytest.mark.usefixtures("tenants")

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)


def with_settings(**values: Any) -> Any:
    return override_settings(TASKYARD={**settings.TASKYARD, **values})


def waiting(name: str) -> int:
    """How many messages stand in the outbox of a tenant."""
    return len(files.rows(name, "SELECT id FROM taskyard_outboxmessage"))


def open_aliases() -> list[str]:
    """The tenants this thread is connected to."""
    known = [wrapper for wrapper in connections.all(initialized_only=True) if wrapper.connection is not None]
    return [wrapper.alias for wrapper in known if wrapper.alias.startswith("tenant:")]


# -- the router


def test_models_of_tenants_live_in_the_database_of_the_current_one_and_nowhere_else() -> None:
    with pytest.raises(NoTenant):
        Visit.objects.count()
    with tenant_context("acme"):
        Visit.objects.create(written_by="acme")
        kept = Visit.objects.all()
        assert Visit.objects.get()._state.db == "tenant:acme"
        with tenant_context(""), pytest.raises(NoTenant):
            Visit.objects.create(written_by="")
    with pytest.raises(NoTenant):
        list(kept)
    with tenant_context("globex"):
        assert not Visit.objects.exists()


def test_an_object_of_one_tenant_is_refused_by_another() -> None:
    with tenant_context("acme"):
        visit = Visit.objects.create(written_by="acme")
    with tenant_context("globex"):
        for change in (visit.save, visit.delete, visit.refresh_from_db):
            with pytest.raises(TenantMismatch, match=r"'acme'.*'globex'"):
                change()
    assert len(kinds.visits("acme")) == 1


def test_what_is_shared_stays_where_it_is_within_a_tenant() -> None:
    with tenant_context("acme"):
        assert Client.objects.filter(name="globex").exists()
        assert Job.objects.count() == 0
        assert RelayedMessage.objects.count() == 0


def test_a_tenants_database_holds_the_tables_of_its_apps_and_an_outbox_alone() -> None:
    with connections[database_of("acme")].cursor() as cursor:
        tables = set(connections["tenant:acme"].introspection.table_names(cursor))
    assert tables == {"shop_visit", "shop_report", "shop_publicvisit", "taskyard_outboxmessage", "django_migrations"}
    with connections["default"].cursor() as cursor:
        tables = set(connections["default"].introspection.table_names(cursor))
    assert not tables & {"shop_visit", "shop_publicvisit", "taskyard_outboxmessage"}
    assert {"taskyard_job", "taskyard_relayedmessage", "clients_client"} <= tables
    migrate_tenant("acme")


def test_a_project_that_cannot_reach_its_tenants_is_told() -> None:
    def problems() -> list[str]:
        return [problem.msg for problem in checks.run_checks() if problem.id == "taskyard.E004"]

    assert problems() == []
    with override_settings(DATABASE_ROUTERS=[]):
        assert "No router" in problems()[0]
    with with_settings(TENANT_APPS=[], TENANTS=None):
        assert len(problems()) == 2
    with with_settings(TENANT_APPS=["shop", "shoop"]):
        assert "shoop" in problems()[0]


# -- aliases and connections


def test_two_hundred_tenants_take_the_connections_of_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliasing, "_LINGERS_SECONDS", 0.0)
    place = database("acme")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with with_settings(TENANTS=lambda name: place, TENANT_CONNECTIONS=5):
        for number in range(200):
            with tenant_context(f"t{number}"):
                Visit.objects.create(written_by=f"t{number}")
            assert len(open_aliases()) <= 5
            assert sum(alias.startswith("tenant:") for alias in connections) <= 6
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= 5 * 3
        with tenant_context("t0"):
            assert Visit.objects.count() == 200
        assert sum(hasattr(connections._connections, f"tenant:t{number}") for number in range(200)) <= 5


def test_a_connection_in_a_transaction_or_of_the_current_tenant_is_not_closed() -> None:
    place = database("acme")
    with with_settings(TENANTS=lambda name: place, TENANT_CONNECTIONS=2), tenant_context("first"):
        with transaction.atomic(using=database_of()):
            for number in range(6):
                with tenant_context(f"t{number}"):
                    assert Visit.objects.count() == 0
                assert "tenant:first" in open_aliases()
            Visit.objects.create(written_by="first")
        assert Visit.objects.count() == 1
        for number in range(6):
            database_of(f"t{number}")
        assert "tenant:first" in open_aliases()


def test_a_transaction_a_task_left_open_in_a_tenants_database_is_undone() -> None:
    place = database("acme")
    with with_settings(TENANTS=lambda name: place):
        for number in range(5):
            database_of(f"t{number}")
        with tenant_context("acme"):
            left = transaction.atomic(using=database_of())
            left.__enter__()
            Visit.objects.create(written_by="never")

        discard_left_open()

        assert {"default", "tenant:acme"} <= {wrapper.alias for wrapper in aliasing.opened_here()}
        assert "tenant:acme" not in open_aliases()
        with tenant_context("acme"):
            assert not Visit.objects.exists()


def test_aliases_are_registered_from_many_threads_while_others_go_through_them() -> None:
    errors: list[BaseException] = []
    is_done = threading.Event()

    def find(name: str) -> dict[str, Any]:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": f"/nowhere/{name}"}

    def register(thread: int) -> None:
        try:
            for number in range(100):
                alias = database_of(f"t{thread}-{number}")
                assert connections.settings[alias]["NAME"] == f"/nowhere/t{thread}-{number}"
                assert connections[alias].settings_dict["CONN_MAX_AGE"] == 0
        except BaseException as error:  # for the main thread to see
            errors.append(error)

    def walk() -> None:
        try:
            while not is_done.is_set():
                assert "default" in [wrapper.alias for wrapper in connections.all()]
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    with with_settings(TENANTS=find, TENANT_CONNECTIONS=3):
        threads = [threading.Thread(target=register, args=[number]) for number in range(8)]
        walker = threading.Thread(target=walk)
        for thread in (*threads, walker):
            thread.start()
        for thread in threads:
            thread.join()
        is_done.set()
        walker.join()
    assert errors == []


def test_an_alias_has_all_that_django_fills_in_and_never_a_transaction_for_each_view() -> None:
    given = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere", "ATOMIC_REQUESTS": True}
    with with_settings(TENANTS=lambda name: given):
        alias = database_of("acme")
    made = connections.settings[alias]
    usual = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3"}}).settings["default"]
    assert set(made) == set(usual)
    assert made["ATOMIC_REQUESTS"] is False
    assert given == {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere", "ATOMIC_REQUESTS": True}


def test_a_tenant_whose_database_moved_is_found_where_it_is_now() -> None:
    place = database("acme")
    with with_settings(TENANTS=lambda name: place):
        with tenant_context("mover"):
            Visit.objects.create(written_by="mover")
        place = database("globex")
        with tenant_context("mover"):
            Visit.objects.create(written_by="mover")
    assert (len(kinds.visits("acme")), len(kinds.visits("globex"))) == (1, 1)


def test_an_alias_whose_registration_was_interrupted_is_registered_by_the_next_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish = aliasing.aliases._publish

    def interrupted(*args: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(aliasing.aliases, "_publish", interrupted)
    with pytest.raises(SoftTimeLimitExceeded):
        database_of("acme")
    monkeypatch.setattr(aliasing.aliases, "_publish", publish)
    with tenant_context("acme"):
        assert Visit.objects.count() == 0


def test_code_of_an_event_loop_may_ask_for_an_alias_whatever_its_thread_has_open() -> None:
    place = database("acme")
    with with_settings(TENANTS=lambda name: place, TENANT_CONNECTIONS=2):
        for name in ("one", "two"):
            with tenant_context(name):
                assert Visit.objects.count() == 0

        async def ask() -> str:
            return database_of("three")

        assert asyncio.run(ask()) == "tenant:three"
        with tenant_context("three"):
            assert Visit.objects.count() == 0
        assert len(open_aliases()) <= 2


def test_a_deleted_tenant_cannot_be_connected_to_any_more() -> None:
    with tenant_context("acme"):
        Visit.objects.create(written_by="acme")
    kinds.delete("acme")
    with pytest.raises(UnknownTenant):
        set_tenant("acme")
    assert open_aliases() == []
    with pytest.raises(ConnectionDoesNotExist):
        connections["tenant:acme"]


# -- the outbox


def test_a_job_exists_exactly_if_the_tenants_transaction_commits() -> None:
    with tenant_context("acme"):
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=database_of()):
            tasks.visit.enqueue()
            tasks.shared.delay()
            enqueue_many(tasks.visit, [{}, {}])
            raise ZeroDivisionError
        assert (waiting("acme"), Job.objects.count()) == (0, 0)
        with transaction.atomic(using=database_of()):
            kept = [tasks.visit.enqueue().id, uuid.UUID(tasks.shared.delay().id)]
            enqueue_many(tasks.visit, [{}, {}])
            with pytest.raises(ZeroDivisionError), transaction.atomic(using=database_of()):
                tasks.visit.enqueue()
                raise ZeroDivisionError
            assert Job.objects.count() == 0
        assert waiting("acme") == 0
    assert set(kept) < set(Job.objects.values_list("id", flat=True))
    assert set(Job.objects.values_list("tenant", "state")) == {("acme", "pending")}
    assert Job.objects.count() == 4


def test_a_job_has_everything_its_caller_said() -> None:
    later = timezone.now() + dt.timedelta(hours=3)
    with tenant_context("acme"):
        visit = Visit.objects.create(written_by="acme")
        call = tasks.visit.using(
            priority=7, run_after=later, subject=visit, created_by="eve", tags=["a"], tenant="globex"
        )
        job = call.enqueue(text="ü")
    found = Job.objects.get(id=job.id)
    for name in ("task", "kwargs", "tenant", "priority", "available_at", "subject_id", "created_by", "tags", "root"):
        assert getattr(found, name) == getattr(job, name), name
    assert (found.tenant, found.kwargs, found.due) == ("globex", {"text": "ü"}, False)


def test_a_call_names_the_database_of_its_transaction() -> None:
    with tenant_context("acme"), transaction.atomic(using=database_of()):
        tasks.visit.using(database="default").enqueue()
        assert Job.objects.count() == 1
        transaction.set_rollback(True, using=database_of())
    alias = database_of("globex")
    with transaction.atomic(using=alias):
        tasks.visit.using(database=alias).enqueue()
        assert Job.objects.count() == 1
    assert list(Job.objects.order_by("created_at").values_list("tenant", flat=True)) == ["acme", ""]
    with pytest.raises(ConfigurationError, match="OUTBOX_DATABASES"):
        tasks.visit.using(database="other").enqueue()


@pytest.mark.django_db(transaction=True, databases=["default", "orders"])
def test_a_database_of_the_projects_own_may_have_an_outbox(tmp_path: Path) -> None:
    with with_settings(OUTBOX_DATABASES=["orders"]):
        # It was migrated when this setting did not name it.
        call_command("migrate", "taskyard", "zero", database="orders", fake=True, verbosity=0)
        call_command("migrate", database="orders", verbosity=0)
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="orders"):
            tasks.visit.using(database="orders").enqueue()
            raise ZeroDivisionError
        with transaction.atomic(using="orders"):
            job = tasks.visit.using(database="orders", tenant="acme").enqueue()
            OutboxMessage.objects.using("orders").get(id=job.id)
        assert not OutboxMessage.objects.using("orders").exists()
        assert [(found.id, found.tenant) for found in Job.objects.all()] == [(job.id, "acme")]
        with faults.armed("outbox.committed", faults.raising(tmp_path / "mark", OperationalError("it died here"))):
            with transaction.atomic(using="orders"):
                tasks.visit.using(database="orders").enqueue()
        assert (OutboxMessage.objects.using("orders").count(), Job.objects.count()) == (1, 1)
        assert Relay(uuid.uuid4(), INTAKE).run_once(NOW) == 1
        assert Job.objects.count() == 2


def test_a_message_is_not_relayed_within_a_control_transaction_that_may_roll_back() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic(), tenant_context("acme"):
        with transaction.atomic(using=database_of()):
            job = tasks.visit.enqueue()
        assert waiting("acme") == 1
        raise ZeroDivisionError
    assert (waiting("acme"), Job.objects.count()) == (1, 0)
    assert Relay(uuid.uuid4(), INTAKE).run_once(NOW) == 1
    assert Job.objects.get().id == job.id
    with transaction.atomic(), tenant_context("acme"):
        tasks.visit.enqueue()
    assert (waiting("acme"), Job.objects.count()) == (0, 2)


def test_the_key_of_a_job_is_locked_when_it_is_relayed() -> None:
    with tenant_context("acme"):
        first = tasks.unique.enqueue(key="nightly")
        assert first.created
        again = tasks.unique.enqueue(key="nightly")
        assert (again.id, again.created) == (first.id, False)
        assert tasks.unique.delay("nightly").id == str(first.id)
        with transaction.atomic(using=database_of()):
            late = tasks.unique.enqueue(key="nightly")
    assert dict(Job.objects.values_list("id", "state")) == {first.id: "pending", late.id: "cancelled"}
    assert Job.objects.get(id=late.id).error["reason"] == "duplicate"


def test_eager_jobs_run_after_their_relay_as_their_tenant() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True), tenant_context("acme"):
        with transaction.atomic(using=database_of()):
            job = tasks.nested.enqueue(other="globex")
            assert kinds.visits("acme") == []
        assert Job.objects.get(id=job.id).result == "acme"
    assert (len(kinds.visits("acme")), len(kinds.visits("globex"))) == (2, 2)
    assert (waiting("acme"), waiting("globex")) == (0, 0)


def test_what_the_end_of_a_job_sends_is_part_of_that_end() -> None:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True), tenant_context("acme"):
        chord([tasks.shared.si(), tasks.shared.si()], tasks.collect.s()).delay()
        tasks.shared.apply_async(link=tasks.shared.si())
    assert set(Job.objects.values_list("tenant", "state")) == {("acme", "succeeded")}
    # The chord's members and the first of the last two came by an outbox; its body and the link did not.
    assert (Job.objects.count(), RelayedMessage.objects.count()) == (5, 3)


def test_async_code_enqueues_through_the_outbox_of_its_tenant(tmp_path: Path) -> None:
    async def enqueue() -> None:
        async with tenant_context("acme"):
            await tasks.visit.aenqueue()
            tasks.shared.delay()
        await sync_to_async(connections.close_all)()

    contextvars.copy_context().run(asyncio.run, enqueue())
    assert list(Job.objects.values_list("tenant", flat=True)) == ["acme", "acme"]
    assert RelayedMessage.objects.count() == 2
    from taskyard.celery.seam import _INSERT_THREAD

    _INSERT_THREAD.submit(connections.close_all).result()


# -- the relay


def interrupted(name: str, mark: Path) -> Job:
    """A job whose relay stopped between its job and its message."""
    with tenant_context(name), faults.armed("relay.written", faults.raising(mark, OperationalError("it died here"))):
        job = tasks.visit.enqueue()
    assert (waiting(name), Job.objects.count()) == (1, 1)
    return job


@pytest.mark.parametrize("is_pruned", [False, True])
def test_a_relay_that_died_between_job_and_message_is_completed_once(is_pruned: bool, tmp_path: Path) -> None:
    interrupted("acme", tmp_path / "mark")
    if is_pruned:
        Job.objects.all()._raw_delete("default")
    agent = Relay(uuid.uuid4(), INTAKE)
    assert agent.run_once(NOW) == 1
    assert (waiting("acme"), Job.objects.count()) == (0, 0 if is_pruned else 1)
    assert RelayedMessage.objects.get().left_at == NOW
    agent.run_once(NOW + dt.timedelta(minutes=59))
    assert RelayedMessage.objects.exists()
    agent.run_once(NOW + dt.timedelta(minutes=61))
    assert not RelayedMessage.objects.exists()


def test_two_relays_at_once_make_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = interrupted("acme", tmp_path / "mark")
    for rows in (Job.objects, RelayedMessage.objects):
        rows.all()._raw_delete("default")
    alias, read = database_of("acme"), relaying.read_payload

    def other() -> None:
        relay(alias, INTAKE, NOW)
        connections.close_all()

    def read_late(text: str) -> Any:
        # Another relay is done with the same message after this one has read it.
        monkeypatch.setattr(relaying, "read_payload", read)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        Job.objects.all()._raw_delete("default")
        return read(text)

    monkeypatch.setattr(relaying, "read_payload", read_late)
    assert relay(alias, INTAKE, NOW) == 1
    assert (waiting("acme"), Job.objects.filter(id=job.id).count(), RelayedMessage.objects.count()) == (0, 0, 1)


def test_an_enqueue_succeeds_while_nothing_can_be_written_where_jobs_live(impatient: Any) -> None:
    with impatient("default"), tenant_context("acme"):
        job = tasks.visit.enqueue()
        with transaction.atomic(using=database_of()):
            tasks.unique.enqueue(key="nightly")
    assert (waiting("acme"), Job.objects.count()) == (2, 0)
    assert Relay(uuid.uuid4(), INTAKE).run_once(NOW) == 2
    assert Job.objects.filter(id=job.id).exists()
    assert (waiting("acme"), Job.objects.count()) == (0, 2)


@pytest.fixture
def impatient() -> Any:
    """Somebody else holds the table of jobs, and this thread does not wait for long."""

    @contextmanager
    def locked(alias: str) -> Iterator[None]:
        mine = connections[alias]
        other = mine.copy()
        is_sqlite = mine.vendor == "sqlite"
        patience, usual = ("PRAGMA busy_timeout = %s", "20000") if is_sqlite else ("SET lock_timeout = %s", "0")
        lock = "BEGIN EXCLUSIVE" if is_sqlite else "BEGIN; LOCK TABLE taskyard_job IN EXCLUSIVE MODE"
        try:
            mine.cursor().execute(patience % "100")
            other.cursor().execute(lock)
            yield
        finally:
            other.cursor().execute("ROLLBACK")
            other.close()
            mine.cursor().execute(patience % usual)

    return locked


def test_a_message_that_nobody_can_read_stays_and_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    alias = database_of("acme")
    OutboxMessage.objects.using(alias).create(id=uuid.uuid4(), payload='{"from": "the future"}', created_at=NOW)
    with tenant_context("acme"):
        tasks.visit.enqueue()
    assert (waiting("acme"), Job.objects.count()) == (1, 1)
    assert "became no job" in caplog.text


def test_a_call_whose_own_id_is_another_tenants_stays_in_the_outbox_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database("acme"), database("globex")
    for name in ("acme", "globex"):
        with tenant_context(name), transaction.atomic(using=database_of()):
            tasks.visit.apply_async(task_id="report-17")
            tasks.visit.enqueue()
    assert (waiting("acme"), waiting("globex")) == (0, 1)
    assert sorted(Job.objects.values_list("tenant", flat=True)) == ["acme", "acme", "globex"]
    assert "'report-17' of task 'shop.visit' is in use outside of tenant 'globex'" in caplog.text


def test_a_sweep_looks_into_a_few_outboxes_each_turn_and_into_all_in_time(tmp_path: Path) -> None:
    places = {f"t{number}": {**database("acme"), "NAME": "/nowhere/at/all"} for number in range(25)}
    places["t24"] = database("acme")

    def tenants(name: str | None = None) -> Any:
        return list(places) if name is None else places.get(name)

    with with_settings(TENANTS=tenants):
        with (
            tenant_context("t24"),
            faults.armed(
                "outbox.committed", faults.raising(tmp_path / "mark", OperationalError("the process died here"))
            ),
            pytest.raises(OperationalError),
        ):
            tasks.visit.enqueue()
        agent, other = Relay(uuid.uuid4(), INTAKE), Relay(uuid.uuid4(), INTAKE)
        # It is where the other one would look first, if it might.
        other._busy = [":t24"]
        seconds = [NOW + dt.timedelta(seconds=number) for number in range(3)]
        turns = [(agent.run_once(now), other.run_once(now)) for now in seconds]
        assert turns == [(0, 0), (0, 0), (1, 0)]
        assert Job.objects.count() == 1


@pytest.mark.parametrize("trouble", ["the project's own", "settings", "engine"])
def test_a_tenant_that_cannot_be_told_does_not_hide_the_messages_of_those_beside_it(
    trouble: str, tmp_path: Path
) -> None:
    died = faults.raising(tmp_path / "mark", OperationalError("the process died here"))
    with tenant_context("acme"), faults.armed("outbox.committed", died):
        with transaction.atomic(using=database_of()):
            job = tasks.visit.enqueue()
    assert waiting("acme") == 1

    def tenants(name: str | None = None) -> Any:
        if name is None:
            return ["broken", "acme"]
        if name == "acme":
            return database("acme")
        if trouble == "the project's own":
            raise KeyError("HOST")
        return {} if trouble == "settings" else {**database("acme"), "ENGINE": "django.db.backends.sqlite33"}

    with with_settings(TENANTS=tenants):
        agent = Relay(uuid.uuid4(), INTAKE)
        for number in range(3):
            with suppress(KeyError):
                agent.run_once(NOW + dt.timedelta(seconds=number))
    assert Job.objects.get().id == job.id


def test_a_commit_just_before_kill_9_is_relayed_once(project: TenantProject, tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    project.faults = {"outbox.committed": str(mark)}
    code = (
        "from django.db import transaction\n"
        "from taskyard.tenancy import tenant_context\n"
        "from taskyard.tenancy.databases import database_of\n"
        "from tests.tenancy.shop import tasks\n"
        "with tenant_context('acme'), transaction.atomic(using=database_of()):\n"
        "    tasks.visit.enqueue(text='survives')\n"
    )
    with pytest.raises(AssertionError):
        project.run_python(code)
    assert mark.exists()
    assert (waiting("acme"), Job.objects.count()) == (1, 0)

    project.faults = {"relay.written": str(tmp_path / "killed too")}
    relaying_worker = project.start_worker("-c", "1", wait=False)
    relaying_worker.process.wait(40)
    relaying_worker.kill_group()
    assert (waiting("acme"), Job.objects.count()) == (1, 1)

    project.faults = {}
    project.taskyard = {"WORKER_TIMEOUT": {"seconds": 3}, "HEARTBEAT": {"seconds": 0.5}}
    project.start_worker("-c", "1")
    wait_for_state(Job.objects.get().id, "succeeded", 40)
    wait_until(lambda: waiting("acme") == 0, 40, "the message is gone")
    assert [visit["written_by"] for visit in kinds.visits("acme")] == ["acme"]
    assert Job.objects.count() == 1
    assert (Job.objects.get().tenant, Job.objects.get().attempt) == ("acme", 1)


def test_a_rollback_just_before_kill_9_leaves_nothing(project: TenantProject) -> None:
    code = (
        "import os, signal\n"
        "from django.db import transaction\n"
        "from taskyard.tenancy import tenant_context\n"
        "from taskyard.tenancy.databases import database_of\n"
        "from tests.tenancy.shop import tasks\n"
        "with tenant_context('acme'), transaction.atomic(using=database_of()):\n"
        "    tasks.visit.enqueue(text='never')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with pytest.raises(AssertionError):
        project.run_python(code)
    assert Relay(uuid.uuid4(), INTAKE).run_once(NOW) == 0
    assert (waiting("acme"), Job.objects.count()) == (0, 0)


def test_a_duplicate_that_should_raise_does_where_there_is_no_transaction() -> None:
    loud = tasks.unique_loudly
    with tenant_context("acme"):
        loud.enqueue(key="nightly")
        with pytest.raises(DuplicateJob):
            loud.enqueue(key="nightly")
