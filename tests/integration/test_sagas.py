"""Sagas: steps in their order, compensated in the reverse one, whatever happens to who runs them."""

import json
from pathlib import Path

import pytest

from taskyard.errors import SagaFailed, SagaNotFinished
from taskyard.sagas.models import SagaEvent, SagaStep
from taskyard.sagas.states import SagaState
from taskyard.testing import run_jobs
from tests.app.orchestrators import Declined, Trip

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
