"""What every kind of tenancy must do, run once for each kind."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import connections
from django.test import override_settings

from taskyard.errors import NoTenant, TaskyardError, TenantNotReady, UnknownTenant
from taskyard.tenancy import cache_key, current_tenant, set_tenant, tenant_context, tenant_key
from taskyard.tenancy.context import get_tenancy
from tests.tenancy import kinds
from tests.tenancy.clients.models import Client
from tests.tenancy.shop import tasks
from tests.tenancy.shop.models import Visit

pytestmark = pytest.mark.usefixtures("tenants")


def test_a_tenant_is_entered_and_left_and_its_rows_are_its_own() -> None:
    for name in ("acme", "globex"):
        with tenant_context(name):
            assert current_tenant() == name
            Visit.objects.create(written_by=name)
    assert current_tenant() == ""
    for name in ("acme", "globex"):
        assert [visit["written_by"] for visit in kinds.visits(name)] == [name]
        with tenant_context(name):
            assert [visit.written_by for visit in Visit.objects.all()] == [name]


def test_contexts_nest_and_restore_what_was_there_also_after_an_error() -> None:
    with tenant_context("acme"):
        with pytest.raises(ZeroDivisionError), tenant_context("globex"):
            with tenant_context("acme"), tenant_context(""):
                assert current_tenant() == ""
            assert current_tenant() == "globex"
            raise ZeroDivisionError
        assert current_tenant() == "acme"
        Visit.objects.create(written_by="acme")
    assert current_tenant() == ""
    assert (len(kinds.visits("acme")), len(kinds.visits("globex"))) == (1, 0)


@pytest.mark.parametrize(("name", "error"), [("nobody", UnknownTenant), ("limbo", TenantNotReady)])
def test_a_tenant_that_cannot_be_entered_leaves_everything_as_it_was(name: str, error: type[Exception]) -> None:
    with tenant_context("acme"):
        with pytest.raises(error), tenant_context(name):
            pytest.fail("the body ran")
        assert current_tenant() == "acme"
        Visit.objects.create(written_by="acme")
    assert len(kinds.visits("acme")) == 1


@pytest.mark.parametrize("odd", [None, 5, object()])
def test_what_is_no_tenant_is_refused_with_a_sentence(odd: object) -> None:
    for use in (tenant_context, set_tenant, lambda tenant: tasks.visit.using(tenant=tenant or b"")):
        with pytest.raises(TaskyardError, match="is no tenant"):
            use(odd)
    assert current_tenant() == ""


def test_the_ready_tenants_are_listed_and_the_others_with_the_reason() -> None:
    assert sorted(get_tenancy().ready()) == ["acme", "globex"]
    assert sorted(get_tenancy().listed()) == [("acme", ""), ("globex", ""), ("limbo", "it is being made")]


def test_a_decorated_function_runs_as_the_tenant_however_often_it_is_called_within_itself() -> None:
    @tenant_context("acme")
    def count(depth: int) -> list[str]:
        return [current_tenant(), *(count(depth - 1) if depth else []), current_tenant()]

    assert count(3) == ["acme"] * 8
    assert current_tenant() == ""


def test_a_decorated_coroutine_function_runs_as_the_tenant() -> None:
    @tenant_context("acme")
    async def who() -> str:
        return await sync_to_async(current_tenant)()

    async def two() -> list[str]:
        found = await asyncio.gather(who(), who())
        await sync_to_async(connections.close_all)()
        return [*found, current_tenant()]

    assert contextvars.copy_context().run(asyncio.run, two()) == ["acme", "acme", ""]


def test_a_generator_is_not_decorated_its_caller_would_be_within_the_tenant() -> None:
    def names() -> Iterator[str]:
        yield current_tenant()

    async def later() -> AsyncIterator[str]:
        yield current_tenant()

    for function in (names, later):
        with pytest.raises(TaskyardError, match=f"{function.__name__} is a generator"):
            tenant_context("acme")(function)


def test_a_context_that_is_entered_is_not_entered_elsewhere_meanwhile() -> None:
    shared, seen = tenant_context("acme"), []

    def elsewhere() -> None:
        with tenant_context("globex"):
            with pytest.raises(TaskyardError, match="entered elsewhere"), shared:
                pytest.fail("it was entered")
            seen.append(current_tenant())
        connections.close_all()

    with shared, shared:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert current_tenant() == "acme"
    assert (seen, current_tenant()) == (["globex"], "")
    with shared:
        assert current_tenant() == "acme"


def test_a_script_becomes_a_tenant_for_good() -> None:
    set_tenant("acme")
    Visit.objects.create(written_by="acme")
    set_tenant("globex")
    assert current_tenant() == "globex"
    set_tenant("")
    assert current_tenant() == ""
    assert len(kinds.visits("acme")) == 1


def test_threads_have_tenants_of_their_own() -> None:
    seen: list[str] = []
    with tenant_context("acme"):
        thread = threading.Thread(target=lambda: seen.append(current_tenant()))
        thread.start()
        thread.join()
    assert seen == [""]


def test_tasks_of_an_event_loop_that_take_turns_write_to_their_own_tenants() -> None:
    async def write(name: str, turn: asyncio.Event, other: asyncio.Event) -> None:
        async with tenant_context(name):
            for number in range(5):
                await turn.wait()
                turn.clear()
                await Visit.objects.acreate(written_by=current_tenant(), text=str(number))
                other.set()

    async def both() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        first.set()
        await asyncio.gather(write("acme", first, second), write("globex", second, first))
        assert current_tenant() == ""
        # Those of the thread in which an event loop's queries run.
        await sync_to_async(connections.close_all)()

    # In a context of its own: what it leaves behind must not hide in this one.
    contextvars.copy_context().run(asyncio.run, both())
    for name in ("acme", "globex"):
        assert [visit["written_by"] for visit in kinds.visits(name)] == [name] * 5


def test_keys_are_of_the_current_tenant() -> None:
    with tenant_context("acme"):
        assert tenant_key("index") == "acme:index"
    with pytest.raises(NoTenant):
        tenant_key("index")
    assert cache_key("b:c", "p", 1) == "p:1::b:c"


@override_settings(
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "KEY_FUNCTION": "taskyard.tenancy.cache_key",
        }
    }
)
def test_a_cache_with_our_key_function_shows_each_tenant_its_own_entries() -> None:
    cache = caches["default"]
    for name in ("acme", "globex", ""):
        with tenant_context(name):
            cache.set("page", name)
    for name in ("acme", "globex", ""):
        with tenant_context(name):
            assert cache.get("page") == name


def test_what_is_known_of_a_tenant_is_used_again_for_as_long_as_the_settings_say(
    django_assert_num_queries: object,
) -> None:
    with override_settings(TASKYARD={**_settings(), "TENANT_CACHE": _an_hour()}):
        with tenant_context("acme"):
            pass
        kinds.delete("globex")
        # Directly in the table, so that nobody is told.
        Client.objects.filter(name="acme").update(is_ready=False)
        with tenant_context("acme"):
            assert current_tenant() == "acme"
    with pytest.raises(TenantNotReady), tenant_context("acme"):
        pass
    Client.objects.filter(name="acme").update(is_ready=True)


def _settings() -> dict[str, object]:
    from django.conf import settings

    return dict(settings.TASKYARD)


def _an_hour() -> object:
    from datetime import timedelta

    return timedelta(hours=1)
