"""A project whose tenants' schemas cannot work is told so, and how to mend it, before anything starts."""

from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from taskyard.checks.tenants import check_schemas

GOOD = {"SHARED_APPS": ["django_tenants", "taskyard"], "TENANT_APPS": ["shop"]}


def said(aliases: list[str], **changes: Any) -> str:
    with override_settings(TASKYARD={"TENANCY": "schemas", "TENANT_DATABASES": aliases}, **{**GOOD, **changes}):
        errors = list(check_schemas())
    assert {error.number for error in errors} <= {"E003"}
    return "\n".join(f"{error.says} {error.hint}" for error in errors)


def test_a_project_of_another_kind_is_not_asked() -> None:
    with override_settings(TASKYARD={"TENANCY": "rows"}, TENANT_APPS=["taskyard"]):
        assert list(check_schemas()) == []


def test_settings_that_cannot_be_read_are_the_matter_of_another_check() -> None:
    with override_settings(TASKYARD={"TENANCY": "schemata"}):
        said = {error.id for error in run_checks(tags=["taskyard"])}
    assert ("taskyard.E001" in said, "taskyard.E003" in said) == (True, False)


@pytest.mark.skipif(settings.KIND != "schemas", reason="for TASKYARD_TEST_TENANCY=schemas")
def test_a_project_that_can_work_is_left_alone() -> None:
    assert said(["default", "replica"]) == ""


@pytest.mark.skipif(settings.KIND == "schemas", reason="for projects without django-tenants")
def test_a_project_without_django_tenants_is_told_what_is_missing() -> None:
    text = said(["default"])
    assert "Put 'django_tenants' first in SHARED_APPS" in text
    assert "DATABASES['default']['ENGINE'] = 'django_tenants.postgresql_backend'" in text


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.checks.tenants.find_spec", lambda name: None)
    assert "pip install 'taskyard[schemas]'" in said(["default"])


def test_an_alias_that_is_not_there_and_a_list_without_any_are_named() -> None:
    assert "TENANT_DATABASES names 'lost'" in said(["lost"])
    assert "TENANT_DATABASES is empty" in said([])


@pytest.mark.parametrize("name", ["taskyard", "taskyard.apps.TaskyardConfig"])
def test_taskyard_among_the_tenants_apps_is_refused(name: str) -> None:
    assert "Take 'taskyard' out of TENANT_APPS" in said(["default"], TENANT_APPS=["shop", name])
    types = {"public": {"APPS": ["taskyard"]}, "small": {"APPS": [name]}}
    text = said(["default"], HAS_MULTI_TYPE_TENANTS=True, TENANT_TYPES=types)
    assert "Take 'taskyard' out of TENANT_TYPES['small']['APPS']" in text


def test_taskyard_must_be_among_the_shared_apps() -> None:
    assert "Add 'taskyard' to SHARED_APPS" in said(["default"], SHARED_APPS=["django_tenants"])
