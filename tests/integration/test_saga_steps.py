"""What starts a step and what keeps it: times, deadlines, conditions, groups, users, results that are no JSON."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from taskyard.jobs.models import Job
from taskyard.sagas.handle import Handle
from taskyard.sagas.keeper import Keeper
from taskyard.sagas.machine.events import Cancel, Resume
from taskyard.sagas.machine.working import CHECK_AFTER
from taskyard.sagas.models import SagaStep
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing import store
from taskyard.testing import Clock, run_attempt, run_jobs
from taskyard.testing.faults import dying
from tests.app.waits import HOUR, Errand, Hurry, Nap, Odd, Pair, Refusal, Visit
from tests.integration.saga_words import errors, history, in_hand, job_of, later, states
from tests.ledger import Ledger

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def user() -> Any:
    return get_user_model().objects.create(username="ada")


def test_timers_end_at_their_time_and_not_before(taskyard_clock: Clock, ledger: Ledger) -> None:
    alarm = taskyard_clock.now + 3 * HOUR
    run = Nap.start(at=alarm.isoformat())
    run_jobs()
    later(taskyard_clock, HOUR - SECOND)
    assert states(run) == {"rest": "waiting"}
    later(taskyard_clock, SECOND)
    assert states(run) == {"rest": "succeeded", "alarm": "waiting"}
    later(taskyard_clock, 2 * HOUR - SECOND)
    assert ledger.effects == []
    later(taskyard_clock, SECOND)
    assert (run.state, ledger.effects) == (SagaState.COMPLETED, ["wake"])
    history(run)


def test_a_time_that_cannot_be_told_fails_its_step(taskyard_clock: Clock) -> None:
    run = Nap.start(at="tomorrow")
    run_jobs()
    later(taskyard_clock, HOUR)
    assert (run.state, errors(run)) == (SagaState.COMPENSATED, {"alarm": "ValueError"})


def test_what_is_not_past_its_pivot_by_its_deadline_turns_round(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Hurry.start()
    run_jobs()
    later(taskyard_clock, HOUR - SECOND)
    assert run.state is SagaState.WAITING
    later(taskyard_clock, SECOND)
    assert (run.state, run.saga.error["type"]) == (SagaState.COMPENSATED, "DeadlineExceeded")
    assert ledger.effects == ["pack", "-pack"]
    history(run)


def test_past_its_pivot_a_deadline_is_nothing(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Hurry.start()
    run.signal("taxi")
    run_jobs()
    later(taskyard_clock, 2 * HOUR)
    assert (run.state, states(run)["arrival"], run.saga.due_at) == (SagaState.WAITING, "waiting", None)
    run.signal("arrival")
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.COMPLETED, ["pack", "go"])
    history(run)


def test_while_a_step_is_in_hand_past_the_deadline_nothing_happens_again_and_again(taskyard_clock: Clock) -> None:
    run = Errand.start()
    run_attempt(job_of(run))
    with dying("saga.step"):
        run_attempt(Job.objects.get(task__endswith="__buy"))
    Job.objects.filter(task__endswith="__buy").update(state="running")
    store.Saga.objects.filter(id=run.id).update(deadline_at=taskyard_clock.now, due_at=taskyard_clock.now)
    Keeper().run_once(taskyard_clock.now)
    assert in_hand(run).wish == "compensated"
    revision = run.saga.revision
    for _ in range(5):
        taskyard_clock.jump(2 * SECOND)
        Keeper().run_once(taskyard_clock.now)
    assert run.saga.revision == revision


@pytest.mark.parametrize(
    ("wanted", "done"), [("left right", ["left", "right"]), ("left", ["left"]), ("right", ["right"]), ("", [])]
)
def test_of_a_group_what_its_conditions_want_is_done(ledger: Ledger, wanted: str, done: list[str]) -> None:
    run = Pair.start(wanted=wanted)
    run_jobs()
    assert (run.state, run.result()) == (
        SagaState.COMPLETED,
        [name if name in done else None for name in ("left", "right")],
    )
    assert ledger.effects[0] == "lay"
    assert sorted(ledger.effects[1:-1]) == done
    assert ledger.effects[-1] == "serve"
    assert [name for name, state in states(run).items() if state == "skipped"] == sorted({"left", "right"} - {*done})
    history(run)


def test_a_condition_that_raises_fails_its_step(ledger: Ledger) -> None:
    run = Pair.start(fails="")
    run_jobs()
    assert (run.state, errors(run)) == (SagaState.COMPENSATED, {"left": "KeyError"})
    assert ledger.effects == ["lay", "-lay"]


def test_where_one_of_a_group_fails_the_others_are_compensated_with_it_before_what_came_before(ledger: Ledger) -> None:
    run = Pair.start(fails="right", wanted="left right")
    run_jobs()
    assert run.state is SagaState.COMPENSATED
    assert sorted(ledger.effects[1:3]) == ["left", "right"]
    assert ledger.effects[3:] == ["-left", "-lay"]
    history(run)


def test_a_group_is_compensated_together_and_before_what_came_before(ledger: Ledger) -> None:
    run = Pair.start(fails="serve", wanted="left right")
    run_jobs()
    assert run.state is SagaState.COMPENSATED
    assert sorted(ledger.effects[4:6]) == ["-left", "-right"]
    assert ledger.effects[6:] == ["-lay"]
    history(run)


def test_of_a_group_all_are_handed_out_before_any_is_waited_for() -> None:
    run = Pair.start(wanted="left right")
    run_attempt(job_of(run))
    assert states(run) == {"lay": "succeeded", "left": "queued", "right": "queued"}
    assert run.saga.runner is None


def test_one_that_is_not_begun_when_the_other_of_its_group_fails_is_never_begun(ledger: Ledger) -> None:
    run = Pair.start(fails="left", wanted="left right")
    run_attempt(job_of(run))
    run_attempt(Job.objects.get(task__endswith="__left"))
    assert states(run)["right"] == "pending"
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.COMPENSATED, ["lay", "left", "-lay"])


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_one_whose_worker_was_lost_is_done_again_though_the_saga_turns_round_and_then_undone(
    taskyard_clock: Clock, ledger: Ledger, is_forgotten: bool
) -> None:
    # Nobody knows whether it was done: what is undone has to be known.
    run = Pair.start(fails="right", wanted="left right")
    run_attempt(job_of(run))
    with dying("saga.stepped"):
        run_attempt(Job.objects.get(task__endswith="__left"))
    run_attempt(Job.objects.get(task__endswith="__right"))
    assert states(run) == {"lay": "succeeded", "left": "running", "right": "failed"}
    if is_forgotten:
        Job.objects.all().delete()
        later(taskyard_clock, CHECK_AFTER)
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.COMPENSATED, ["lay", "left", "right", "left", "-left", "-lay"])
    assert ledger.lines[1]["key"] == ledger.lines[3]["key"]
    history(run)


def test_a_step_in_place_whose_worker_was_lost_is_done_again_though_somebody_cancels_and_then_undone(
    ledger: Ledger,
) -> None:
    run = Visit.start()
    with dying("saga.stepped"):
        run_attempt(job_of(run))
    store.tell(run.id, Cancel(), timezone.now())
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.CANCELLED, ["ring", "ring", "-ring"])
    assert len({line["key"] for line in ledger.lines[:2]}) == 1
    history(run)


def test_a_step_that_failed_waits_for_its_next_attempt_and_no_job_does(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Errand.start(fails="once")
    run_jobs()
    assert (run.state, states(run)["buy"]) == (SagaState.WAITING, "retrying")
    assert not Job.objects.active().exists()
    later(taskyard_clock, dt.timedelta(seconds=59))
    assert states(run)["buy"] == "retrying"
    later(taskyard_clock, SECOND)
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.COMPLETED, ["leave", "buy", "buy", "home"])
    history(run)


def test_a_cancel_does_not_wait_for_the_next_attempt_of_what_failed(ledger: Ledger) -> None:
    run = Errand.start(fails="once")
    run_jobs()
    run.cancel()
    run_jobs()
    assert (run.state, ledger.effects) == (SagaState.CANCELLED, ["leave", "buy", "-leave"])


def test_a_result_that_is_no_json_fails_its_step() -> None:
    run = Odd.start()
    run_jobs()
    assert (run.state, errors(run)) == (SagaState.COMPENSATED, {"make": "NotJson"})
    assert SagaStep.objects.get(saga=run.id).result is None


@pytest.mark.parametrize("is_deactivated", [False, True])
def test_where_its_user_is_gone_no_step_starts_and_what_was_done_is_compensated(
    user: Any, ledger: Ledger, is_deactivated: bool
) -> None:
    run: Handle = Visit.using(user=user).start()
    run_jobs()
    if is_deactivated:
        get_user_model().objects.update(is_active=False)
    else:
        get_user_model().objects.all().delete()
    run.signal("approval")
    run_jobs()
    assert (run.state, errors(run)) == (SagaState.COMPENSATED, {"enter": "UserGone"})
    assert ledger.effects == ["ring", "-ring"]


def test_what_was_compensated_is_done_again_with_another_key(ledger: Ledger) -> None:
    run = Errand.start(fails="home")
    run_jobs()
    assert run.state is SagaState.COMPENSATED
    keys = [line["key"] for line in ledger.lines]
    assert len(set(keys)) == len(keys) == 5


def test_only_what_needs_attention_is_resumed() -> None:
    run = Visit.start()
    with pytest.raises(Exception, match="only what needs attention"):
        store.tell(run.id, Resume(), timezone.now())


def test_inline_an_error_is_raised_and_what_was_done_compensated(ledger: Ledger) -> None:
    with pytest.raises(Refusal):
        Pair.run_inline(fails="serve", wanted="left right")
    assert sorted(ledger.effects[1:3]) == ["left", "right"]
    assert sorted(ledger.effects[4:6]) == ["-left", "-right"]
    assert ledger.effects[6:] == ["-lay"]
