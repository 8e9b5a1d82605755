"""Every verb of an operator while workers are in a saga: never two in one step, never a lost transition."""

import os
from collections import Counter

import pytest
from django.db import connection

from taskyard.jobs.models import Job
from taskyard.sagas.models import Saga, SagaEvent, SagaSignal, SagaStep
from tests.integration.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True)

#: One to be played again, and nothing else.
SEED = os.environ.get("TASKYARD_TEST_SEED")


def play(seeds: range, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """As many sagas, each with its own order; how often which verb was obeyed or refused, and how they ended."""
    counted: Counter[str] = Counter()
    for seed in [int(SEED)] if SEED else seeds:
        for model in (Job, Saga, SagaStep, SagaEvent, SagaSignal):
            model.objects.all().delete()
        stage = Stage(seed)
        with monkeypatch.context() as staged:
            staged.setattr("tests.app.waits.effect", stage.step)
            wrong = stage.perform()
        assert wrong == [], f"seed {seed}: TASKYARD_TEST_SEED={seed} plays it again"
        counted.update(stage.verbs)
        counted[f"ended {stage.run_of.state}"] += 1
        counted["given to another worker"] += len(stage.given_again)
    return counted


@pytest.mark.slow
def test_verbs_while_workers_run_put_no_two_of_them_into_a_step_and_lose_no_transition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Elsewhere a connection for each actor takes long.
    print(play(range(30 if connection.vendor == "postgresql" else 8), monkeypatch))


@pytest.mark.verify
@pytest.mark.timeout(1800)
def test_five_hundred_orders_of_verbs_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = play(range(1_000, 1_500), monkeypatch)
    print(dict(sorted(counted.items())))
    for verb in ("cancel", "compensate", "retry", "skip", "resume", "signal"):
        assert counted[f"{verb} obeyed"] > 10, counted
