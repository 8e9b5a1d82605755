"""Sagas: steps in their order, compensated in the reverse one, whatever happens to who runs them."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from taskyard.errors import SagaFailed, SagaNotFinished
from taskyard.jobs.rows import prepared
from taskyard.sagas.models import SagaEvent, SagaStep
from taskyard.sagas.states import SagaState
from taskyard.testing import run_jobs
from tests.app.orchestrators import Declined, Echo, Trip

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    monkeypatch.setenv("TASKYARD_TEST_LEDGER", str(path))
    return path


def effects(ledger: Path) -> list[str]:
    return [json.loads(line)["what"] for line in ledger.read_text().splitlines()]


def test_steps_run_in_their_order_and_the_last_result_is_the_sagas(ledger: Path) -> None:
    run = Trip.start(city="Rome")
    assert run.state is SagaState.RUNNING
    with pytest.raises(SagaNotFinished):
        run.result()
    run_jobs()
    assert (run.state, run.result()) == (SagaState.COMPLETED, "paid")
    assert effects(ledger) == ["flight", "hotel", "pay"]
    revisions = list(SagaEvent.objects.filter(saga=run.id).values_list("revision", flat=True).distinct())
    assert sorted(set(revisions)) == list(range(1, run.saga.revision + 1))


def test_what_was_done_is_compensated_in_reverse_order(ledger: Path) -> None:
    run = Trip.start(city="Rome", fails="no money")
    run_jobs()
    assert run.state is SagaState.COMPENSATED
    assert effects(ledger) == ["flight", "hotel", "pay", "-hotel", "-flight"]
    with pytest.raises(SagaFailed, match=r"Declined: no money"):
        run.result()


def test_inline_its_error_is_raised_when_all_is_compensated(ledger: Path) -> None:
    with pytest.raises(Declined):
        Trip.run_inline(city="Rome", fails="no money")
    assert effects(ledger) == ["flight", "hotel", "pay", "-hotel", "-flight"]
    assert Trip.run_inline(city="Oslo").result() == "paid"


def test_a_step_is_given_what_the_row_holds_also_in_the_same_process() -> None:
    run = Trip.run_inline(city="Rome")
    kept = SagaStep._default_manager.get(saga=run.id, name="flight").result
    assert kept == {"flight": "to Rome", "seats": [1, 2]}
    assert SagaStep._default_manager.get(saga=run.id, name="hotel").result == "Rome after to Rome, seats [1, 2]"


@pytest.mark.parametrize("value", [True, False, 0, 1.5, "x", None, [], {"a": [None, "\0"]}])
def test_a_result_is_kept_as_what_it_is(value: Any) -> None:
    run = Echo.run_inline(value=value)
    kept = SagaStep._default_manager.get(saga=run.id, name="say").result
    assert (run.result(), type(run.result()), kept) == (value, type(value), value)


def test_a_transition_is_one_prepared_statement_on_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    plain = prepared.run

    def watched(connection: Any, statement: str, *, params: Any) -> Any:
        rows = plain(connection, statement, params=params)
        ran.append((statement.startswith("WITH moved AS (UPDATE taskyard_saga"), rows is not None))
        return rows

    monkeypatch.setattr(prepared, "run", watched)
    Trip.run_inline(city="Rome")
    # Taken, and the ends of three steps.
    assert ran.count((True, True)) == (4 if connection.vendor == "postgresql" else 0)
    assert (True, False) not in ran
