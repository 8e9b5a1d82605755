"""What is special about a schema per tenant."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from django.test import override_settings

from taskyard.errors import TenantNotReady, UnknownTenant
from taskyard.jobs.rows import prepared
from taskyard.models import Job
from taskyard.tenancy import current_tenant, set_tenant, tenant_context
from taskyard.tenancy.context import get_tenancy
from taskyard.tenancy.tenancy import Entry
from tests.tenancy import kinds
from tests.tenancy.clients.models import Client
from tests.tenancy.shop.models import Visit

if settings.KIND != "schemas":
    pytest.skip("for TASKYARD_TEST_TENANCY=schemas", allow_module_level=True)

from django_tenants.utils import schema_context as their_schema_context
from django_tenants.utils import tenant_context as their_tenant_context

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica"]),
    pytest.mark.usefixtures("tenants"),
]


def configured(**changes: Any) -> Any:
    return override_settings(TASKYARD={**settings.TASKYARD, **changes})


def schema(alias: str = "default") -> str:
    """The first schema of the path, as the server says."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def in_a_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def then_close() -> None:
        try:
            await work()
        finally:
            await sync_to_async(connections.close_all)()

    # What other tests left in this context is none of its business.
    contextvars.Context().run(asyncio.run, then_close())


@contextmanager
def sql(statement: str, undo: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(undo)


def test_the_tenant_object_stands_on_the_connection_and_what_was_there_comes_back() -> None:
    theirs = Client.objects.get(name="globex")
    connection.set_tenant(theirs, include_public=False)
    with tenant_context("acme"):
        assert connection.tenant == Client.objects.get(name="acme")
        assert (connection.include_public_schema, schema()) == (True, "acme")
        with tenant_context(""):
            assert (connection.schema_name, schema()) == ("public", "public")
        assert (connection.tenant.name, schema()) == ("acme", "acme")
    assert connection.tenant is theirs
    assert (connection.include_public_schema, schema()) == (False, "globex")
    connection.set_schema_to_public()


def test_a_tenant_object_may_be_entered() -> None:
    with tenant_context(Client.objects.get(name="acme")):
        assert current_tenant() == "acme"


def test_all_aliases_of_the_settings_are_switched_and_put_back() -> None:
    with configured(TENANT_DATABASES=["default", "replica"]):
        with tenant_context("acme"):
            assert (schema(), schema("replica")) == ("acme", "acme")
        assert (schema(), schema("replica")) == ("public", "public")


def test_a_task_may_name_its_aliases_and_the_others_are_public_meanwhile() -> None:
    with tenant_context("globex"):
        with tenant_context("acme", databases=("replica",)):
            assert (schema(), schema("replica"), current_tenant()) == ("public", "acme", "acme")
        assert (schema(), schema("replica"), current_tenant()) == ("globex", "public", "globex")


def test_public_needs_no_row_and_no_question() -> None:
    assert not Client.objects.filter(schema_name="public").exists()
    with tenant_context("acme"), tenant_context("public"):
        assert (current_tenant(), schema()) == ("", "public")


@pytest.mark.parametrize("change", ["save", "delete", "rename"])
def test_what_is_remembered_of_a_tenant_is_forgotten_when_its_row_changes(change: str) -> None:
    with configured(TENANT_CACHE=timedelta(hours=1)):
        with tenant_context("acme"):
            first = connection.tenant
        with tenant_context("acme"):
            assert connection.tenant is first
        client = Client.objects.get(name="acme")
        if change == "delete":
            client.delete()
            with pytest.raises(UnknownTenant), tenant_context("acme"):
                pass
        elif change == "rename":
            client.schema_name = client.name = "elsewhere"
            client.save()
            with pytest.raises(UnknownTenant), tenant_context("acme"):
                pass
            Client.objects.filter(pk=client.pk).update(name="acme", schema_name="acme")
        else:
            client.is_ready = False
            client.save()
            with pytest.raises(TenantNotReady), tenant_context("acme"):
                pass


def test_a_change_is_asked_for_again_after_its_commit_too() -> None:
    with configured(TENANT_CACHE=timedelta(hours=1)):
        _enter_and_close("acme")
        with transaction.atomic():
            client = Client.objects.get(name="acme")
            client.is_ready = False
            client.save()
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(_enter_and_close, "acme").result()
        with pytest.raises(TenantNotReady), tenant_context("acme"):
            pass


def _enter_and_close(name: str) -> None:
    with tenant_context(name):
        pass
    connections.close_all()


def test_the_cache_of_a_task_may_be_its_own() -> None:
    tenancy = get_tenancy()
    an_hour = Entry(cache=timedelta(hours=1))
    tenancy.restore(tenancy.become("acme", an_hour))
    Client.objects.filter(name="acme").update(is_ready=False)
    tenancy.restore(tenancy.become("acme", an_hour))
    with pytest.raises(TenantNotReady), tenant_context("acme"):
        pass


def test_django_tenants_own_contexts_are_believed_and_nest_with_ours() -> None:
    globex = Client.objects.get(name="globex")
    with their_schema_context("acme"):
        assert current_tenant() == "acme"
        with tenant_context("globex"):
            assert (current_tenant(), schema()) == ("globex", "globex")
            with their_schema_context("acme"):
                assert (current_tenant(), schema()) == ("acme", "acme")
                with tenant_context(""):
                    assert (current_tenant(), schema()) == ("", "public")
                assert (current_tenant(), schema()) == ("acme", "acme")
            with their_tenant_context(globex), their_schema_context("public"):
                assert (current_tenant(), schema()) == ("", "public")
            assert (current_tenant(), schema()) == ("globex", "globex")
        assert (current_tenant(), schema()) == ("acme", "acme")
    assert (current_tenant(), schema()) == ("", "public")


def test_a_tenant_whose_schema_is_missing_is_not_ready() -> None:
    Client.objects.filter(name="limbo").update(is_ready=True)
    with pytest.raises(TenantNotReady, match="no schema of that name in the database 'default'"):
        with tenant_context("limbo"):
            pytest.fail("the body ran")
    assert schema() == "public"


def test_a_schema_with_tables_of_taskyard_is_not_entered() -> None:
    with sql("CREATE TABLE acme.taskyard_job (id int)", "DROP TABLE acme.taskyard_job"):
        with pytest.raises(TenantNotReady, match="belong to public"), tenant_context("acme"):
            pass


@pytest.mark.parametrize("where", ["ours", "theirs"])
def test_tenants_are_looked_up_in_public_whoever_is_current(where: str) -> None:
    with sql("CREATE TABLE acme.clients_client (LIKE clients_client)", "DROP TABLE acme.clients_client"):
        with tenant_context("acme") if where == "ours" else their_schema_context("acme"):
            assert sorted(get_tenancy().ready()) == ["acme", "globex"]
            with tenant_context("globex"):
                assert current_tenant() == "globex"


def test_without_the_setting_the_rows_with_a_schema_are_the_tenants() -> None:
    with configured(TENANTS=None):
        assert list(get_tenancy().ready()) == ["acme", "globex"]
        [limbo] = [tenant for tenant in get_tenancy().listed() if tenant.why_not]
        assert limbo == ("limbo", "there is no schema of that name in the database 'default'")
        with tenant_context("acme"):
            assert connection.tenant == Client.objects.get(name="acme")
        with pytest.raises(UnknownTenant), tenant_context("nobody"):
            pass


def test_the_setting_may_give_names() -> None:
    with configured(TENANTS=lambda name=None: ["acme"] if name is None else name):
        assert list(get_tenancy().ready()) == ["acme"]
        with tenant_context("globex"):
            assert connection.tenant == Client.objects.get(name="globex")
        with pytest.raises(UnknownTenant), tenant_context("nobody"):
            pass


def test_an_answer_about_somebody_else_is_no_answer() -> None:
    with configured(TENANTS=lambda name=None: Client.objects.get(name="globex")):
        with pytest.raises(UnknownTenant), tenant_context("acme"):
            pass


def test_a_connection_that_was_closed_comes_back_in_the_same_schema() -> None:
    with tenant_context("acme"):
        assert schema() == "acme"
        connection.close()
        assert schema() == "acme"
        connection.close()
    assert schema() == "public"


@override_settings(TENANT_LIMIT_SET_CALLS=True)
def test_a_path_that_a_rollback_took_back_is_set_again() -> None:
    assert schema() == "public"
    with pytest.raises(ZeroDivisionError), transaction.atomic(), tenant_context("acme"):
        assert schema() == "acme"
        raise ZeroDivisionError
    assert schema() == "public"
    with transaction.atomic(), tenant_context("acme"):
        cursor = connection.cursor()
        with pytest.raises(ZeroDivisionError), transaction.atomic(), tenant_context("globex"):
            assert schema() == "globex"
            raise ZeroDivisionError
        cursor.execute("SELECT current_schema()")
        assert cursor.fetchone() == ("acme",)


def test_a_connection_that_broke_meanwhile_is_left_without_an_error_and_next_used_in_public() -> None:
    with tenant_context("acme"):
        with connections["replica"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        with pytest.raises(DatabaseError):
            schema()
    connection.close_if_unusable_or_obsolete()
    assert (current_tenant(), schema()) == ("", "public")


def test_a_connection_that_cannot_be_put_back_starts_anew_in_public(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    connection.set_tenant(Client.objects.get(name="globex"))
    with tenant_context("acme"):
        assert schema() == "acme"
        monkeypatch.setattr(connection, "set_tenant", refuse)
    monkeypatch.undo()
    assert (connection.connection, current_tenant(), schema()) == (None, "", "public")
    assert "could not be put back" in caplog.text


def test_after_a_connection_started_anew_django_tenants_own_contexts_are_believed_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    set_tenant("")
    with tenant_context("acme"):
        monkeypatch.setattr(connection, "set_tenant", refuse)
    monkeypatch.undo()
    with their_tenant_context(Client.objects.get(name="globex")):
        assert (current_tenant(), schema()) == ("globex", "globex")
    assert (current_tenant(), schema()) == ("", "public")


def test_an_entry_that_fails_half_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    tenant = connection.tenant
    connections["replica"].ensure_connection()
    with configured(TENANT_DATABASES=["default", "replica"]):
        monkeypatch.setattr(connections["replica"], "set_tenant", refuse)
        with pytest.raises(ZeroDivisionError), tenant_context("acme"):
            pytest.fail("the body ran")
    assert connection.tenant is tenant
    assert (current_tenant(), schema()) == ("", "public")


def test_jobs_are_those_of_public_whoever_is_current() -> None:
    from tests.tenancy.shop.tasks import visit

    with tenant_context("acme"):
        job = visit.enqueue()
        assert Job.objects.get(id=job.id).tenant == "acme"
        assert Job.objects.filter(id=job.id).update(priority=3) == 1
    assert Job.objects.get(id=job.id).priority == 3


def test_the_hot_path_keeps_its_prepared_statements() -> None:
    with tenant_context("acme"):
        assert prepared.run(connection, "SELECT count(*) FROM taskyard_job", params=[]) is not None


def test_a_thread_of_a_pool_starts_each_time_in_public() -> None:
    with ThreadPoolExecutor(1) as pool, tenant_context("acme"):
        assert pool.submit(schema).result() == "public"
        pool.submit(_enter_and_close, "globex").result()
        assert pool.submit(schema).result() == "public"
        pool.submit(connections.close_all).result()


def test_statements_of_an_event_loop_are_sent_for_the_task_they_come_from() -> None:
    async def stand(name: str, seen: list[str], turns: asyncio.Barrier) -> None:
        async with tenant_context(name):
            for _ in range(4):
                await turns.wait()
                seen.append(await sync_to_async(schema)())

    async def work() -> None:
        seen: dict[str, list[str]] = {"acme": [], "globex": [], "": []}
        turns = asyncio.Barrier(3)
        await asyncio.gather(*(stand(name, its, turns) for name, its in seen.items()))
        assert seen == {"acme": ["acme"] * 4, "globex": ["globex"] * 4, "": ["public"] * 4}
        assert await sync_to_async(schema)() == "public"

    in_a_loop(work)


def test_in_an_event_loop_django_tenants_own_contexts_are_believed() -> None:
    def meanwhile() -> None:
        with their_schema_context("globex"):
            assert (current_tenant(), schema()) == ("globex", "globex")
            with tenant_context("acme"):
                assert (current_tenant(), schema()) == ("acme", "acme")
            assert (current_tenant(), schema()) == ("globex", "globex")
        with tenant_context("globex"):
            assert (current_tenant(), schema(), connection.tenant.name) == ("globex", "globex", "globex")
        assert (current_tenant(), schema()) == ("acme", "acme")

    async def work() -> None:
        async with tenant_context("acme"):
            await sync_to_async(meanwhile)()
            assert current_tenant() == "acme"
        await sync_to_async(lambda: connection.set_schema("globex"))()
        async with tenant_context("acme"):
            assert await sync_to_async(schema)() == "acme"
            async with tenant_context(""):
                assert await sync_to_async(schema)() == "public"
        assert await sync_to_async(schema)() == "globex"
        assert await sync_to_async(current_tenant)() == "globex"
        await sync_to_async(lambda: connection.set_schema_to_public())()

    in_a_loop(work)


def test_a_tenant_that_one_task_of_a_loop_sets_for_good_is_not_the_others() -> None:
    async def set_and_wait(is_set: asyncio.Event, is_seen: asyncio.Event) -> None:
        await sync_to_async(set_tenant)("acme")
        is_set.set()
        await is_seen.wait()
        assert (current_tenant(), await sync_to_async(schema)()) == ("acme", "acme")

    async def look(is_set: asyncio.Event, is_seen: asyncio.Event) -> None:
        await is_set.wait()
        assert (current_tenant(), await sync_to_async(schema)()) == ("", "public")
        async with tenant_context("globex"):
            assert await sync_to_async(schema)() == "globex"
        is_seen.set()

    async def work() -> None:
        events = asyncio.Event(), asyncio.Event()
        await asyncio.gather(set_and_wait(*events), look(*events))
        assert await sync_to_async(schema)() == "public"

    in_a_loop(work)


def test_a_cursor_and_a_transaction_kept_across_other_tasks_statements_stay_with_their_task() -> None:
    def begin() -> Any:
        block = transaction.atomic()
        block.__enter__()
        cursor = connection.cursor()
        cursor.execute("SELECT current_schema()")
        return block, cursor

    def again(cursor: Any) -> str:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])

    def break_in_a_savepoint() -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            connection.cursor().execute("SELECT no_such_column")

    async def other() -> None:
        async with tenant_context("globex"):
            assert await sync_to_async(schema)() == "globex"
            await sync_to_async(break_in_a_savepoint)()
            assert await sync_to_async(schema)() == "globex"

    async def work() -> None:
        block, cursor = await sync_to_async(begin)()
        await asyncio.create_task(other())
        assert await sync_to_async(again)(cursor) == "public"
        await sync_to_async(block.__exit__)(None, None, None)

    in_a_loop(work)


def test_async_code_called_from_a_tenants_sync_code_works_for_it_and_for_another_meanwhile() -> None:
    async def work() -> list[str]:
        seen = [await sync_to_async(schema)()]
        async with tenant_context("globex"):
            seen += [await sync_to_async(schema)(), current_tenant()]
        return [*seen, await sync_to_async(schema)()]

    with tenant_context("acme"):
        assert async_to_sync(work)() == ["acme", "globex", "globex", "acme"]
        assert Visit.objects.count() == len(kinds.visits("acme"))


def test_a_connection_opened_before_anybody_entered_a_tenant_is_steered_too() -> None:
    seen = []

    def open_first() -> None:
        connection.ensure_connection()
        seen.append([getattr(wrapper, "__name__", "") for wrapper in connection.execute_wrappers])
        connection.close()

    thread = threading.Thread(target=open_first)
    thread.start()
    thread.join()
    assert seen == [["steer"]]


def test_the_private_names_of_django_tenants_that_are_used_exist() -> None:
    with tenant_context("acme"):
        assert connection._get_cursor_search_paths() == ["acme", "public"]
        assert schema() == "acme"
        assert connection.search_path_set_schemas == ["acme", "public"]
        assert connection._setting_search_path is False
