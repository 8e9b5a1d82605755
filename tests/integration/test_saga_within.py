"""Sagas within sagas: told of each other, and mended by the keeper where somebody died in between."""

import uuid
from typing import Any

import pytest
from django.utils import timezone

from taskyard.jobs.models import Job
from taskyard.sagas.handle import Handle
from taskyard.sagas.keeper import Keeper
from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep, Verb
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.machine.working import CHECK_AFTER
from taskyard.sagas.models import Saga
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing import store
from taskyard.testing import Clock, run_attempt, run_jobs
from taskyard.testing.faults import dying
from tests.app.waits import Envelope, Outer
from tests.integration.saga_words import errors, history, job_of, later, states
from tests.ledger import Ledger

pytestmark = pytest.mark.django_db(transaction=True)


def within(run: Handle) -> Handle:
    """The saga within it."""
    return Handle(Saga.objects.get(parent=run.id).id)


def ask(run: Handle, verb: Verb) -> None:
    store.tell(run.id, verb, timezone.now())


def completed(kind: Any, **inputs: Any) -> Handle:
    run: Handle = kind.start(**inputs)
    run_jobs()
    assert run.state is SagaState.COMPLETED
    return run


def test_its_result_is_the_steps(ledger: Ledger) -> None:
    run = completed(Outer)
    assert run.result() == "after close"
    assert ledger.effects == ["before", "open", "close", "after"]
    inner = within(run).saga
    assert (inner.state, inner.parent, inner.parent_step) == ("completed", run.id, "inner")
    history(run), history(within(run))


def test_where_it_is_compensated_its_step_has_failed_and_what_came_before_is_compensated(ledger: Ledger) -> None:
    run = Outer.start(fails="close")
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATED, SagaState.COMPENSATED)
    assert ledger.effects == ["before", "open", "close", "-open", "-before"]
    assert errors(run) == {"inner": "Refusal"}


def test_it_is_compensated_where_something_fails_after_it(ledger: Ledger) -> None:
    run = Outer.start(fails="after")
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATED, SagaState.COMPENSATED)
    assert ledger.effects == ["before", "open", "close", "after", "-open", "-before"]
    history(run), history(within(run))


def test_cancelled_from_above_it_comes_back_first(ledger: Ledger) -> None:
    run = Outer.start(fails="word")
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.WAITING, SagaState.WAITING)
    run.cancel()
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.CANCELLED, SagaState.CANCELLED)
    assert ledger.effects == ["before", "open", "-open", "-before"]
    history(run), history(within(run))


def test_cancelled_by_itself_its_step_has_failed(ledger: Ledger) -> None:
    run = Outer.start(fails="word")
    run_jobs()
    within(run).cancel()
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATED, SagaState.CANCELLED)
    assert ledger.effects == ["before", "open", "-open", "-before"]


def test_a_step_that_is_a_saga_is_not_skipped_while_that_is_on_its_way() -> None:
    run = Outer.start(fails="word")
    run_jobs()
    with pytest.raises(Refused, match=str(within(run).id)):
        ask(run, SkipStep("inner", "no patience"))


def test_what_completed_is_compensated_with_all_that_is_within(ledger: Ledger) -> None:
    run = completed(Outer)
    ask(run, Compensate())
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATED, SagaState.COMPENSATED)
    assert ledger.effects[4:] == ["-open", "-before"]
    history(run), history(within(run))


@pytest.mark.parametrize("fails", ["", "close"])
def test_killed_before_the_outer_one_is_told_the_keeper_tells_it(
    taskyard_clock: Clock, ledger: Ledger, fails: str
) -> None:
    run = Outer.start(fails=fails)
    run_attempt(job_of(run))
    with dying("saga.ended"):
        run_attempt(job_of(within(run)))
    run_jobs()
    assert within(run).saga.is_final
    assert (run.state, states(run)["inner"]) == (SagaState.WAITING, "waiting")
    later(taskyard_clock, CHECK_AFTER)
    assert run.state is (SagaState.COMPENSATED if fails else SagaState.COMPLETED)
    assert ledger.effects[-1] == ("-before" if fails else "after")
    history(run)


def test_killed_before_the_inner_one_is_told_to_come_back_the_keeper_tells_it(
    taskyard_clock: Clock, ledger: Ledger
) -> None:
    run = Outer.start(fails="after")
    run_attempt(job_of(run))
    run_attempt(job_of(within(run)))
    with dying("saga.recalled"):
        run_attempt(job_of(run))
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATING, SagaState.COMPLETED)
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects[-2:]) == (SagaState.COMPENSATED, ["-open", "-before"])


def test_killed_before_the_inner_one_is_told_to_stop_the_keeper_tells_it(
    taskyard_clock: Clock, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Outer.start(fails="word")
    run_jobs()
    with monkeypatch.context() as dead:
        dead.setattr(store, "call_back", lambda *_: None)
        run.cancel()
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.WAITING, SagaState.WAITING)
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, within(run).state) == (SagaState.CANCELLED, SagaState.CANCELLED)
    assert ledger.effects == ["before", "open", "-open", "-before"]


def test_where_its_compensation_gives_up_the_outer_one_waits_and_nobody_tries_again_by_himself(
    taskyard_clock: Clock, ledger: Ledger
) -> None:
    run = Outer.start(fails="after shut")
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATING, SagaState.NEEDS_ATTENTION)
    for _ in range(4):
        later(taskyard_clock, CHECK_AFTER)
    assert ledger.effects.count("-open") == 1
    ask(within(run), SkipStep("open", "done by hand"))
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.COMPENSATED, SagaState.COMPENSATED)
    assert ledger.effects[-1] == "-before"
    history(run), history(within(run))


def test_what_is_behind_its_pivot_within_needs_attention(ledger: Ledger) -> None:
    run = Envelope.start(fails="send")
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.NEEDS_ATTENTION, SagaState.COMPLETED)
    assert errors(run)["sealed"] == "NotCompensated"
    ask(run, SkipStep("sealed", "it was intercepted"))
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.COMPENSATED, ["write", "seal", "send", "-write"])
    history(run)


def test_a_compensation_that_was_refused_within_is_asked_for_again_by_a_retry() -> None:
    run = Envelope.start(fails="send")
    run_jobs()
    ask(run, RetryStep("sealed"))
    run_jobs()
    assert run.state is SagaState.NEEDS_ATTENTION
    history(run)


def test_one_that_is_gone_counts_as_compensated(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = completed(Outer)
    Saga.objects.filter(id=within(run).id).delete()
    ask(run, Compensate())
    run_jobs()
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects[-1]) == (SagaState.COMPENSATED, "-before")


def test_one_that_has_nothing_to_compensate_tells_the_outer_one_at_once() -> None:
    run = completed(Outer)
    inner = within(run)
    ask(run, Compensate())
    run_jobs()
    assert run.state is SagaState.COMPENSATED
    other = completed(Outer)
    store.SagaStep.objects.filter(saga=within(other).id, name="open").update(state="skipped")
    ask(other, Compensate())
    run_jobs()
    assert (other.state, within(other).state, inner.state) == (SagaState.COMPENSATED,) * 3


def test_one_is_started_anew_when_the_outer_one_is_resumed(ledger: Ledger) -> None:
    run = Outer.start(fails="after shut")
    run_jobs()
    first = within(run)
    ask(first, SkipStep("open", "done by hand"))
    run_attempt(job_of(run))
    assert (run.state, Saga.objects.filter(parent=run.id).count()) == (SagaState.COMPENSATED, 1)
    with pytest.raises(Refused):
        ask(run, Resume())


def test_news_of_another_saga_than_the_one_within_change_nothing() -> None:
    run = Outer.start(fails="word")
    run_jobs()
    before = run.saga.revision
    with pytest.raises(store.Stale):
        store.tell(run.id, store.SagaEnded("inner", uuid.uuid4(), SagaState.COMPLETED), timezone.now())
    assert run.saga.revision == before


def test_both_are_cancelled_at_the_same_time_and_both_come_back(ledger: Ledger) -> None:
    run = Outer.start(fails="word")
    run_jobs()
    within(run).cancel()
    run.cancel()
    run_jobs()
    Keeper().run_once(timezone.now() + CHECK_AFTER)
    run_jobs()
    assert (run.state, within(run).state) == (SagaState.CANCELLED, SagaState.CANCELLED)
    assert ledger.effects == ["before", "open", "-open", "-before"]
    assert not Job.objects.active().exists()


def test_cancelled_while_it_completes_what_it_did_is_compensated(ledger: Ledger) -> None:
    run = Outer.start(fails="word")
    run_jobs()
    inner = within(run)
    ask(run, Cancel())
    # It was asked before this came, and turns round.
    inner.signal("word", "late")
    run_jobs()
    assert (run.state, inner.state) == (SagaState.CANCELLED, SagaState.CANCELLED)
    assert ledger.effects == ["before", "open", "-open", "-before"]
