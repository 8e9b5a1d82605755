"""A definition that changes while sagas are on their way: they end on the old one, or stop where a person sees it."""

import datetime as dt
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from taskyard.execution.pruner import Pruner
from taskyard.sagas import Orchestrator, orchestrator, signal, step
from taskyard.sagas.declaring import registry
from taskyard.sagas.machine.events import Resume
from taskyard.sagas.models import Saga, SagaEvent, SagaSignal, SagaStep
from taskyard.sagas.reading.stranded import find_stranded
from taskyard.sagas.running import tasks as saga_tasks
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing.store import tell
from taskyard.testing import run_jobs

pytestmark = pytest.mark.django_db(transaction=True)

did: list[str] = []


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    did.clear()
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    # Nobody rolls out a release here.
    monkeypatch.setattr(saga_tasks, "ROLL_OUT", dt.timedelta(0))


def declare(version: int, *names: str, cls: str = "Purchase") -> type[Orchestrator]:
    def made(name: str) -> Any:
        def body(self: Any, context: Any) -> str:
            did.append(f"{version}:{name}")
            return name

        return step(body)

    body: dict[str, Any] = {"go": signal()} | {name: made(name) for name in names}
    # The signal stands first, then the steps as they are named.
    return orchestrator("purchase", version=version)(type(cls, (Orchestrator,), body))


def forget(version: int) -> None:
    del registry._definitions[("purchase", version)]


def test_a_saga_ends_on_the_version_it_began_with() -> None:
    old = declare(1, "reserve", "pay").start()
    run_jobs()
    new = declare(2, "reserve", "check", "pay", cls="NewPurchase").start()
    run_jobs()
    for run in (old, new):
        run.signal("go")
    run_jobs()
    assert sorted(did) == sorted(["1:reserve", "1:pay", "2:reserve", "2:check", "2:pay"])
    assert (old.saga.version, new.saga.version, find_stranded()) == (1, 2, [])


@pytest.mark.parametrize("change", ["gone", "other steps"])
def test_what_the_code_cannot_run_any_more_stops_by_name_and_goes_on_when_it_is_back(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = declare(1, "reserve", "pay").start()
    run_jobs()
    forget(1)
    if change == "other steps":
        declare(1, "reserve", "check", "pay")
    stranded = find_stranded()
    assert [(each.name, each.version, each.count) for each in stranded] == [("purchase", 1, 1)]
    call_command("check", databases=["default"])
    assert "W021" in capsys.readouterr().err
    run.signal("go")
    run_jobs(raise_errors=False)
    assert (run.state, did) == (SagaState.NEEDS_ATTENTION, [])
    assert run.saga.stuck["type"] == "DefinitionGone"
    registry._definitions.pop(("purchase", 1), None)
    declare(1, "reserve", "pay")
    tell(run.id, Resume(), timezone.now())
    run_jobs()
    assert (run.state, did) == (SagaState.COMPLETED, ["1:reserve", "1:pay"])


def test_while_a_release_is_rolled_out_another_worker_may_know_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_tasks, "ROLL_OUT", dt.timedelta(minutes=5))
    run = declare(1, "reserve").start()
    run_jobs()
    declared = registry._definitions[("purchase", 1)]
    forget(1)
    run.signal("go")
    run_jobs()
    assert run.state is SagaState.RUNNING
    registry.register(declared)
    run_jobs(delayed=True)
    assert run.state is SagaState.COMPLETED


def test_sagas_that_ended_long_ago_are_deleted_with_all_that_is_theirs(settings: Any) -> None:
    settings.TASKYARD = {**settings.TASKYARD, "RETENTION": {"succeeded": dt.timedelta(days=3)}}
    order = declare(1, "reserve")
    old, young, open_ = order.start(), order.start(), order.start()
    run_jobs()
    for run in (old, young):
        run.signal("go")
    run_jobs()
    then = timezone.now() - dt.timedelta(days=4)
    Saga.objects.filter(id__in=[old.id, open_.id]).update(created_at=then)
    Saga.objects.filter(id=old.id).update(finished_at=then)
    Pruner().run_once(timezone.now())
    assert set(Saga.objects.visible_to(None).values_list("id", flat=True)) == {young.id, open_.id}
    for model in (SagaStep, SagaEvent, SagaSignal):
        rows: Any = model._default_manager
        assert not rows.filter(saga=old.id).exists(), model
        assert rows.filter(saga=young.id).exists(), model


def test_the_check_is_silent_before_there_are_tables(capsys: pytest.CaptureFixture[str]) -> None:
    with connection.schema_editor() as editor:
        editor.execute("ALTER TABLE taskyard_sagaplan RENAME TO taskyard_hidden")
    try:
        call_command("check", databases=["default"])
    finally:
        with connection.schema_editor() as editor:
            editor.execute("ALTER TABLE taskyard_hidden RENAME TO taskyard_sagaplan")
    assert "W021" not in capsys.readouterr().err
