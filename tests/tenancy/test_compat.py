"""What taskyard.compat.tenant_schemas_celery offers beyond what that package's own suite asks for."""

from typing import Any

import celery
import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import override_settings

from taskyard.errors import UnknownTenant
from taskyard.tenancy import current_tenant, tenant_context
from tests.tenancy.clients.models import Client

if settings.KIND != "schemas":
    pytest.skip("for TASKYARD_TEST_TENANCY=schemas", allow_module_level=True)

from taskyard.compat.tenant_schemas_celery import compat
from taskyard.compat.tenant_schemas_celery.app import (
    CeleryApp,
    get_schema_name_from_task,
    restore_schema,
    switch_schema,
)
from taskyard.compat.tenant_schemas_celery.task import TenantTask, headers_with_schema

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica"]),
    pytest.mark.usefixtures("tenants"),
]


@pytest.fixture
def app() -> CeleryApp:
    return CeleryApp("compat", set_as_current=False)


class OfAnotherPackage(celery.Task):
    abstract = True

    def greet(self) -> str:
        return "hello"


def test_a_base_class_of_another_package_gets_the_options_too(app: CeleryApp) -> None:
    @app.task(base=OfAnotherPackage, bind=True, tenant_databases=("replica",), shared=False)
    def work(self: Any) -> Any:
        return self.greet(), connections["replica"].schema_name, connection.schema_name

    assert isinstance(work, OfAnotherPackage)
    assert isinstance(work, TenantTask)
    with tenant_context("acme"):
        assert work.apply().get() == ("hello", "acme", "public")
    assert connections["replica"].schema_name == "public"


def test_called_here_and_now_for_an_unknown_tenant_a_task_does_not_run(app: CeleryApp) -> None:
    ran = []

    @app.task(shared=False)
    def work() -> None:
        ran.append(current_tenant())

    with pytest.raises(UnknownTenant):
        work.apply(headers={"_schema_name": "nobody"})
    work.apply(headers={"_schema_name": "globex"})
    assert ran == ["globex"]
    with pytest.raises(Client.DoesNotExist):
        work.get_tenant_for_schema("nobody")


def test_a_schema_switched_by_hand_is_restored_for_the_request_it_was_switched_for(app: CeleryApp) -> None:
    @app.task(shared=False)
    def work() -> None:
        pass

    there = Client.objects.get(name="globex")
    connection.set_tenant(there)
    for schema, current in (("acme", "acme"), ("public", "")):
        work.push_request(headers={"_schema_name": schema})
        assert get_schema_name_from_task(work, {}) == schema
        switch_schema(work, {})
        assert current_tenant() == current
    for _ in range(2):
        restore_schema(work)
        work.pop_request()
    assert connection.tenant is there
    restore_schema(work)
    connection.set_schema_to_public()


def test_the_settings_of_celery_say_which_aliases_and_for_how_long(app: CeleryApp) -> None:
    @app.task(shared=False)
    def work() -> None:
        pass

    assert (work.tenant_entry().databases, work.tenant_entry().cache) == (("default",), None)
    with override_settings(TASKYARD={**settings.TASKYARD, "TENANT_DATABASES": ["default", "replica"]}):
        assert work.tenant_entry().databases == ("default", "replica")
    app.conf.update(task_tenant_databases=["replica"], task_tenant_cache_seconds=7)
    entry = work.tenant_entry()
    assert entry.databases == ("replica",)
    assert entry.cache is not None and entry.cache.total_seconds() == 7


def test_headers_name_the_current_schema_unless_they_name_one() -> None:
    given = {"a": "b"}
    assert headers_with_schema(given) == {"a": "b", "_schema_name": "public"}
    assert given == {"a": "b"}
    with tenant_context("acme"):
        assert headers_with_schema(None) == {"_schema_name": "acme"}
        assert headers_with_schema({"_schema_name": "globex"}) == {"_schema_name": "globex"}


def test_the_names_of_django_tenants_are_passed_on() -> None:
    assert issubclass(Client, compat.TenantMixin)
    assert compat.TenantTestCase.__name__ == "TenantTestCase"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = compat.nothing
