"""A saga is a tenant's: its steps run as that tenant, forward and back, and no other can see or move it."""

from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from taskyard.enqueue import INTAKE
from taskyard.errors import NotFound, TaskyardError, TenantMismatch
from taskyard.models import Job
from taskyard.outbox.relay import relay
from taskyard.sagas.models import Saga
from taskyard.sagas.states import SagaState
from taskyard.tenancy import tenant_context
from taskyard.tenancy.databases import database_of
from taskyard.testing import faults, run_jobs
from tests.tenancy import kinds
from tests.tenancy.conftest import TenantProject
from tests.tenancy.shop.orchestrators import Tour

pytestmark = [pytest.mark.usefixtures("tenants")]


def texts(name: str) -> list[str]:
    return [visit["text"] for visit in kinds.visits(name)]


@pytest.mark.parametrize(("said", "left"), [("ok", ["enter", "look"]), ("fail", ["enter", "-enter"])])
def test_steps_run_as_the_tenant_that_started_it(said: str, left: list[str]) -> None:
    with tenant_context("acme"):
        run = Tour.start(org="acme")
    run_jobs()
    assert Saga.objects.get(id=run.id).tenant == "acme"
    with tenant_context("acme"):
        assert run.state is SagaState.WAITING
        run.signal("go", said)
    run_jobs()
    assert (texts("acme"), texts("globex")) == (left, [])
    assert Saga.objects.get(id=run.id).state == ("completed" if said == "ok" else "compensated")


def test_another_tenants_saga_does_not_exist() -> None:
    with tenant_context("acme"):
        run = Tour.start(org="acme")
    run_jobs()
    with tenant_context("globex"):
        with pytest.raises(NotFound):
            run.signal("go")
        with pytest.raises(NotFound):
            run.cancel()
        with pytest.raises(NotFound):
            assert run.state
    assert run.state is SagaState.WAITING


def test_an_input_that_names_another_tenant_is_refused() -> None:
    with tenant_context("acme"), pytest.raises(TenantMismatch):
        Tour.start(org="globex")
    assert not Saga.objects.exists()


def test_it_exists_exactly_if_the_tenants_own_transaction_commits() -> None:
    alias = "default" if settings.KIND != "databases" else None
    with tenant_context("acme"):
        using = alias or database_of("acme")
        with transaction.atomic(using=using):
            lost = Tour.start(org="acme")
            transaction.set_rollback(True, using=using)
        with transaction.atomic(using=using):
            kept = Tour.start(org="acme")
        # Before any worker had a look.
        assert kept.state is SagaState.RUNNING
        kept.signal("go", "fail")
        kept.cancel()
        assert Job.objects.for_tenant("acme").count() == 1
    run_jobs()
    assert list(Saga.objects.values_list("id", "state")) == [(kept.id, "cancelled")] != [(lost.id, "cancelled")]
    assert texts("acme") == []


@pytest.mark.skipif(settings.KIND != "databases", reason="only where tenants have databases of their own")
def test_a_start_whose_process_was_killed_after_its_commit_is_relayed_once(
    project: TenantProject, tmp_path: Path
) -> None:
    project.faults = {"outbox.committed": str(tmp_path / "killed")}
    with pytest.raises(AssertionError):
        project.run_python(
            "from taskyard.tenancy import tenant_context\n"
            "from tests.tenancy.shop.orchestrators import Tour\n"
            "with tenant_context('acme'):\n"
            "    Tour.start(org='acme')\n"
        )
    assert (tmp_path / "killed").exists()
    assert not Saga.objects.exists()
    # A relay that dies before it deletes the message leaves it to the next.
    with faults.dying("relay.written"), pytest.raises(faults.Died):
        relay(database_of("acme"), INTAKE, timezone.now())
    assert relay(database_of("acme"), INTAKE, timezone.now()) == 1
    assert (Saga.objects.get().state, Job.objects.count()) == ("running", 1)
    run_jobs()
    assert texts("acme") == ["enter"]


def test_who_names_the_tenant_in_an_input_enters_it_inline_too() -> None:
    run = Tour.run_inline(org="acme")
    assert (run.saga.tenant, texts("acme")) == ("acme", ["enter"])


def test_inline_it_is_refused_in_a_transaction_of_the_tenants_own() -> None:
    with tenant_context("acme"):
        using = "default" if settings.KIND != "databases" else database_of("acme")
        with transaction.atomic(using=using), pytest.raises(TaskyardError, match="cannot run inline"):
            Tour.run_inline(org="acme")
    assert not Saga.objects.exists()


def test_inline_it_runs_for_the_current_tenant() -> None:
    with tenant_context("acme"):
        run = Tour.run_inline(org="acme")
        assert run.state is SagaState.WAITING
    assert texts("acme") == ["enter"]


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_eagerly_it_runs_when_it_is_started() -> None:
    with tenant_context("acme"):
        run = Tour.start(org="acme")
        assert (run.state, texts("acme")) == (SagaState.WAITING, ["enter"])
        run.signal("go")
        assert run.state is SagaState.COMPLETED
