"""Three tenants: two that work, and one that is not ready."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from taskyard.tenancy.context import find_tenancy
from taskyard.testing import tenants_allowed
from tests import workers


@pytest.fixture(scope="session")
def template(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """What the tenants' databases are copied from."""
    if settings.KIND != "databases":
        yield
        return
    from tests.tenancy import files

    with django_db_blocker.unblock():
        with files.template():
            yield


@pytest.fixture
def tenants(template: None, transactional_db: None, allowed: None) -> Iterator[None]:
    from tests.tenancy.kinds import made

    with made("acme", "globex", limbo=False):
        yield
    assert find_tenancy().current() == ""


@pytest.fixture
def allowed(transactional_db: None) -> Iterator[None]:
    """A test may connect to tenants' databases."""
    with tenants_allowed():
        yield


class TenantProject(workers.Project):
    """The project with tenants as its processes see it."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DJANGO_SETTINGS_MODULE": "tests.tenancy.settings"}


@pytest.fixture
def project(tmp_path: Path, tenants: None) -> Iterator[TenantProject]:
    """Its processes are gone before the tenants are."""
    made = TenantProject(tmp_path)
    try:
        yield made
    finally:
        made.release()
        made.close()
