"""The keeper: no saga is forgotten, whatever became of the jobs and processes that had it in hand."""

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from taskyard.execution import steering
from taskyard.jobs.models import Job
from taskyard.sagas import keeper
from taskyard.sagas.handle import Handle
from taskyard.sagas.keeper import INLINE_LEASE, Keeper
from taskyard.sagas.machine.events import Taken
from taskyard.sagas.machine.working import CHECK_AFTER, MOST_LOSSES
from taskyard.sagas.models import Saga, SagaPlan, SagaStep
from taskyard.sagas.running.coordinator import Turn
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing import store
from taskyard.testing import Clock, run_attempt, run_jobs
from taskyard.testing.faults import Died, armed, dying
from tests.app.waits import HOUR, Errand, Hurry, Pair, Reply, Visit
from tests.integration.saga_words import errors, history, job_of, later, states
from tests.ledger import Ledger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger")]

SECOND = dt.timedelta(seconds=1)

#: What became of a job without a word to its saga.
Fate = Callable[[Any], object]


def cancelled(job: Any) -> None:
    assert steering.cancel([job.id], timezone.now(), message="by hand") == 1


def failed(job: Any) -> None:
    error = {"type": "WorkerLost", "message": "three in a row", "reason": "poison"}
    assert Job.objects.filter(id=job.id).update(state="failed", error=error, finished_at=timezone.now()) == 1


def pruned(job: Any) -> None:
    assert Job.objects.filter(id=job.id).delete()[0]


def in_step(run: Handle, task: str = "") -> Any:
    """Its coordinator, or the job of a step, dies with a worker in the step; the job, that nobody has rescued."""
    job = Job.objects.get(task__endswith=task) if task else job_of(run)
    with dying("saga.step"):
        run_attempt(job)
    return Job.objects.get(id=job.id)


def test_one_in_the_hands_of_a_living_job_is_left_alone(taskyard_clock: Clock) -> None:
    run = Visit.start()
    in_step(run)
    revision = run.saga.revision
    taskyard_clock.jump(CHECK_AFTER)
    assert Keeper().run_once(taskyard_clock.now) == 0
    assert (run.saga.revision, run.saga.due_at) == (revision, taskyard_clock.now + CHECK_AFTER)


def test_nothing_is_looked_at_before_its_time_and_nothing_at_rest(taskyard_clock: Clock) -> None:
    run = Visit.start()
    pruned(job_of(run))
    taskyard_clock.jump(CHECK_AFTER - SECOND)
    assert Keeper().run_once(taskyard_clock.now) == 0
    done = Visit.start()
    done.signal("approval")
    run_jobs()
    assert (done.state, done.saga.due_at) == (SagaState.COMPLETED, None)


def test_a_coordinator_that_was_pruned_before_it_began_is_replaced(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Visit.start()
    pruned(job_of(run))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.WAITING, ["ring"])
    history(run)


def test_a_coordinator_that_was_pruned_while_in_a_step_is_replaced_and_the_step_done_again(
    taskyard_clock: Clock, ledger: Ledger
) -> None:
    run = Visit.start()
    pruned(in_step(run))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.WAITING, ["ring"])
    assert SagaStep.objects.get(saga=run.id, name="ring").attempt == 2
    history(run)


def test_a_saga_whose_coordinator_was_cancelled_is_cancelled(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Visit.start()
    cancelled(job_of(run))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.CANCELLED, [])
    history(run)


def test_what_was_done_before_its_coordinator_was_cancelled_is_compensated(
    taskyard_clock: Clock, ledger: Ledger
) -> None:
    run = Visit.start()
    run_jobs()
    run.signal("approval")
    cancelled(job_of(run))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.CANCELLED, ["ring", "-ring"])
    assert run.saga.error["message"] == "by hand"


def test_past_its_pivot_a_cancelled_coordinator_is_replaced(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Hurry.start()
    run.signal("taxi")
    run_jobs()
    Saga.objects.filter(id=run.id).update(runner=uuid.uuid4(), due_at=timezone.now() + CHECK_AFTER)
    Job.objects.create(
        id=run.saga.runner, task="saga.waits_hurry", queue="default", state="cancelled",
        created_at=timezone.now(), available_at=timezone.now(), error={"type": "Cancelled", "message": ""},
    )  # fmt: skip
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, states(run)["arrival"]) == (SagaState.WAITING, "waiting")
    run.signal("arrival")
    run_jobs()
    assert run.state is SagaState.COMPLETED


def test_a_coordinator_that_failed_outside_of_a_step_needs_attention(taskyard_clock: Clock) -> None:
    run = Visit.start()
    failed(job_of(run))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, run.saga.stuck["message"]) == (SagaState.NEEDS_ATTENTION, "three in a row")
    history(run)


def test_a_coordinator_that_failed_in_a_step_is_replaced_until_the_step_counts_as_failed(
    taskyard_clock: Clock, ledger: Ledger
) -> None:
    run = Visit.start()
    run_jobs()
    run.signal("approval")
    for _ in range(MOST_LOSSES):
        failed(in_step(run))
        taskyard_clock.jump(CHECK_AFTER)
        Keeper().run_once(taskyard_clock.now)
    run_jobs()
    assert (run.state, errors(run)["enter"]) == (SagaState.COMPENSATED, "WorkerLost")
    assert ledger.effects == ["ring", "-ring"]
    history(run)


@pytest.mark.parametrize("is_in_hand", [False, True])
@pytest.mark.parametrize("fate", [cancelled, failed])
def test_a_step_whose_job_ended_without_a_word_has_failed(
    taskyard_clock: Clock, ledger: Ledger, fate: Fate, is_in_hand: bool
) -> None:
    run = Errand.start()
    run_attempt(job_of(run))
    fate(in_step(run, "__buy") if is_in_hand else Job.objects.get(task__endswith="__buy"))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, states(run)["buy"]) == (SagaState.COMPENSATED, "failed")
    assert ledger.effects == ["leave", "-leave"]
    history(run)


@pytest.mark.parametrize("is_in_hand", [False, True])
def test_a_step_whose_job_is_gone_is_another_job(taskyard_clock: Clock, ledger: Ledger, is_in_hand: bool) -> None:
    run = Errand.start()
    run_attempt(job_of(run))
    pruned(in_step(run, "__buy") if is_in_hand else Job.objects.get(task__endswith="__buy"))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.COMPLETED, ["leave", "buy", "home"])
    history(run)


@pytest.mark.parametrize("fate", [cancelled, failed])
def test_a_compensation_whose_job_ended_without_a_word_needs_attention(
    taskyard_clock: Clock, ledger: Ledger, fate: Fate
) -> None:
    run = Errand.start(fails="home")
    for _ in range(3):
        run_attempt(Job.objects.filter(state="pending").get())
    assert states(run)["buy"] == "compensation_queued"
    fate(Job.objects.get(state="pending"))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, states(run)["buy"]) == (SagaState.NEEDS_ATTENTION, "compensation_failed")
    assert ledger.effects == ["leave", "buy", "home"]
    history(run)


def test_a_compensation_whose_job_is_gone_is_another_job(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Errand.start(fails="home")
    for _ in range(3):
        run_attempt(Job.objects.filter(state="pending").get())
    pruned(Job.objects.get(state="pending"))
    later(taskyard_clock, CHECK_AFTER)
    assert (run.state, ledger.effects) == (SagaState.COMPENSATED, ["leave", "buy", "home", "-buy", "-leave"])
    history(run)


def test_the_late_end_of_a_job_that_was_taken_for_gone_changes_nothing(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Visit.start()
    turn = Turn(run.id, Visit.definition, runner=run.saga.runner)
    turn._tell(Taken(turn.runner, turn.token))
    pruned(job_of(run))
    taskyard_clock.jump(CHECK_AFTER)
    Keeper().run_once(taskyard_clock.now)
    run_jobs()
    before = history(run)
    turn.run()
    assert (history(run), ledger.effects) == (before, ["ring"])


@pytest.mark.parametrize("kind", [Visit, Errand])
def test_a_run_inline_whose_process_dies_is_a_workers_when_its_lease_has_passed(
    taskyard_clock: Clock, ledger: Ledger, kind: Any
) -> None:
    with pytest.raises(Died), dying("saga.step"):
        kind.run_inline()
    run = Handle(Saga.objects.get().id)
    assert (run.state, Job.objects.count()) == (SagaState.RUNNING, 0)
    later(taskyard_clock, INLINE_LEASE - SECOND)
    assert (ledger.effects, Job.objects.count()) == ([], 0)
    later(taskyard_clock, SECOND)
    assert run.state is (SagaState.WAITING if kind is Visit else SagaState.COMPLETED)
    assert ledger.effects == (["ring"] if kind is Visit else ["leave", "buy", "home"])
    history(run)


def test_one_that_dies_before_its_first_step_is_not_forgotten(taskyard_clock: Clock, ledger: Ledger) -> None:
    with pytest.raises(Died), dying("saga.told"):
        Visit.run_inline()
    later(taskyard_clock, INLINE_LEASE)
    assert (Handle(Saga.objects.get().id).state, ledger.effects) == (SagaState.WAITING, ["ring"])


def test_one_that_dies_on_its_way_back_is_compensated_by_a_worker(taskyard_clock: Clock, ledger: Ledger) -> None:
    struck: list[str] = []

    def strike() -> None:
        struck.append("step")
        if len(struck) == 4:
            raise Died("saga.step")

    with pytest.raises(Died), armed("saga.step", strike):
        Errand.run_inline(fails="home")
    run = Handle(Saga.objects.get().id)
    assert (run.state, states(run)["buy"]) == (SagaState.COMPENSATING, "compensating")
    later(taskyard_clock, INLINE_LEASE)
    assert (run.state, ledger.effects) == (SagaState.COMPENSATED, ["leave", "buy", "home", "-buy", "-leave"])
    history(run)


def test_a_keeper_that_dies_before_its_commit_has_changed_nothing_and_the_next_one_does_it(
    taskyard_clock: Clock,
) -> None:
    run = Reply.start()
    run_jobs()
    taskyard_clock.jump(HOUR)
    before = history(run)
    with pytest.raises(Died), dying("saga.kept"):
        Keeper().run_once(taskyard_clock.now)
    assert (history(run), Job.objects.active().count()) == (before, 0)
    assert Keeper().run_once(taskyard_clock.now) == 1
    run_jobs()
    assert run.state is SagaState.COMPENSATED


def test_of_keepers_at_the_same_time_one_moves_a_saga() -> None:
    runs = [Reply.start() for _ in range(8)]
    run_jobs()
    then = timezone.now() + HOUR
    together = threading.Barrier(3)

    def keep() -> int:
        try:
            together.wait(30)
            return Keeper().run_once(then)
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        moved = sum(done.result(60) for done in [pool.submit(keep) for _ in range(3)])
    assert moved == len(runs) == Job.objects.active().count()
    for run in runs:
        assert history(run).count("failed answer") == 1


def test_more_sagas_than_one_turn_takes_are_looked_at_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BATCH", 2)
    for _ in range(5):
        Reply.start()
    run_jobs()
    then = timezone.now() + HOUR
    assert [Keeper().run_once(then) for _ in range(4)] == [2, 2, 1, 0]


def test_one_that_cannot_be_looked_at_keeps_no_other_waiting(
    taskyard_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Reply.start(), Pair.start(wanted="")
    pruned(job_of(broken))
    pruned(job_of(sound))
    Saga.objects.filter(id=broken.id).update(plan="none")
    taskyard_clock.jump(CHECK_AFTER)
    assert Keeper().run_once(taskyard_clock.now) == 1
    run_jobs()
    assert sound.state is SagaState.COMPLETED
    assert str(broken.id) in caplog.text
    Saga.objects.filter(id=broken.id).update(plan=Reply.definition.plan.digest)
    assert SagaPlan.objects.filter(digest=Reply.definition.plan.digest).exists()
    later(taskyard_clock, CHECK_AFTER)
    assert broken.state is SagaState.WAITING


def test_a_step_that_a_person_brought_back_as_a_job_is_not_run_twice(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Errand.start()
    run_attempt(job_of(run))
    job = Job.objects.get(task__endswith="__buy")
    failed(job)
    later(taskyard_clock, CHECK_AFTER)
    assert run.state is SagaState.COMPENSATED
    steering.retry([job.id], taskyard_clock.now)
    run_jobs()
    assert (ledger.effects, store.read(run.id)[1].state) == (["leave", "-leave"], SagaState.COMPENSATED)
