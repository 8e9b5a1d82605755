"""A saga's rows in words, for tests."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from taskyard.jobs.models import Job
from taskyard.sagas.handle import Handle
from taskyard.sagas.keeper import Keeper
from taskyard.sagas.models import SagaEvent, SagaSignal, SagaStep
from taskyard.sagas.writing import store
from taskyard.testing import Clock, run_jobs


def states(run: Handle) -> dict[str, str]:
    """The states of the steps that have one."""
    return dict(SagaStep.objects.filter(saga=run.id).values_list("name", "state"))


def errors(run: Handle) -> dict[str, str]:
    """The types of the errors of steps."""
    rows = SagaStep.objects.filter(saga=run.id).exclude(error=None).values_list("name", "error")
    return {name: error["type"].rpartition(".")[2] for name, error in rows}


def kept(run: Handle) -> list[Any]:
    """Payloads of signals that nobody has used."""
    return list(SagaSignal.objects.filter(saga=run.id, used_at=None).order_by("id").values_list("payload", flat=True))


def used(run: Handle) -> list[Any]:
    """Payloads of signals that a step has used."""
    found = SagaSignal.objects.filter(saga=run.id, used_at__isnull=False)
    return list(found.order_by("id").values_list("payload", flat=True))


def history(run: Handle) -> list[str]:
    """Its lines, in order; each revision has at least one, or this fails."""
    lines = list(SagaEvent.objects.filter(saga=run.id).order_by("id").values_list("revision", "what", "step"))
    revisions = [revision for revision, _, _ in lines]
    assert revisions == sorted(revisions)
    assert sorted(set(revisions)) == list(range(1, run.saga.revision + 1)), lines
    return [f"{what} {step}".rstrip() for _, what, step in lines]


def job_of(run: Handle) -> Any:
    """The job that coordinates it, or is about to."""
    return Job.objects.get(id=run.saga.runner)


def later(clock: Clock, by: dt.timedelta, *, act: Callable[[], object] = lambda: None) -> None:
    """Let time pass; then the keeper looks once, and what it woke runs."""
    clock.jump(by)
    act()
    Keeper().run_once(clock.now)
    run_jobs(raise_errors=False)


def in_hand(run: Handle) -> Any:
    """The saga as a value."""
    return store.read(run.id)[1]
