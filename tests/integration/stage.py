"""A stage for sagas: workers, operators and a keeper in threads, each with its own connection, in a seeded order.

Everybody stops at certain places, outside of transactions; from all who stand there one or two are picked, by the seed,
and go on to their next stop together. Two that are picked meet in the database as they please.
"""

import random
import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.utils import timezone

from taskyard.errors import WrongState
from taskyard.jobs.models import Job
from taskyard.sagas.context import Context
from taskyard.sagas.handle import Handle
from taskyard.sagas.keeper import Keeper
from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.models import SagaEvent, SagaStep
from taskyard.sagas.running.coordinator import Turn
from taskyard.sagas.states import AT_REST, SagaState
from taskyard.sagas.writing import store
from taskyard.testing import faults
from tests.app.waits import Dance

#: Where a worker stops.
STOPS = ("saga.decided", "saga.told", "saga.step", "saga.stepped")
STEPS = list(Dance.definition.steps)

#: What operators ask for while it is on its way, and when it needs attention.
BUSY = ("cancel", "compensate", "retry", "retry", "skip", "skip", "resume", "signal", "signal", "signal")
CALM = ("resume", "resume", "retry", "skip", "cancel", "compensate", "signal")

#: Rounds within which a saga comes to rest once nobody steers it any more.
PATIENCE = 600
#: Seconds that whoever was picked may need to come to the next stop.
_SLOW = 60


class Tripped(Exception):
    """What a step raises."""


class Actor(threading.Thread):
    """Somebody on the stage."""

    def __init__(self, stage: "Stage", play: Callable[["Actor"], None]) -> None:
        super().__init__(daemon=True)
        self.stage, self.play = stage, play
        self.may_go = threading.Semaphore(0)
        self.state = "new"
        self.error: BaseException | None = None
        #: What it has in hand; a turn whose job was given to somebody else is lost.
        self.turn: Turn | None = None
        self.is_lost = False

    def run(self) -> None:
        try:
            self.stop()
            self.play(self)
        except BaseException as error:
            self.error = error
        finally:
            connection.close()
            self.stage.enter(self, "gone")

    def stop(self) -> None:
        self.stage.enter(self, "waiting")
        self.may_go.acquire()


class Stage:
    """One saga and everybody around it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.run_of: Handle = Dance.start()
        self.actors: list[Actor] = []
        self.changed = threading.Condition()
        self.wrong: list[str] = []
        #: Jobs and the actors that have them; jobs that have been given twice.
        self.hands: dict[uuid.UUID, Actor] = {}
        self.given_again: set[uuid.UUID] = set()
        self.inside: dict[str, list[Actor]] = {}
        self.done: set[str] = set()
        #: Revisions, and who made them.
        self.made: dict[int, str] = {}
        self.verbs: dict[str, int] = {}
        self.is_steered, self.is_over = True, False
        #: How often somebody still helps it where it needs attention.
        self.helps = 3

    def enter(self, actor: Actor, state: str) -> None:
        with self.changed:
            actor.state = state
            self.changed.notify_all()

    def perform(self) -> list[str]:
        """Until it is at rest; what went wrong."""
        operators = [Actor(self, self.operate) for _ in range(2)]
        self.actors = [*(Actor(self, self.work) for _ in range(3)), *operators, Actor(self, self.keep)]
        for point in STOPS:
            faults.arm(point, self.at_stop)
        try:
            for actor in self.actors:
                actor.start()
            self.direct(operators)
        finally:
            faults.disarm()
        self.wrong += [f"somebody raised {actor.error!r}" for actor in self.actors if actor.error is not None]
        self.judge()
        return self.wrong

    def direct(self, operators: list[Actor]) -> None:
        rounds = 0
        while any(actor.state != "gone" for actor in self.actors):
            with self.changed:
                if not self.changed.wait_for(self.is_still, _SLOW):
                    raise AssertionError("somebody does not come to a stop")
                if not any(actor.state != "gone" for actor in operators):
                    self.is_steered = False
                    rounds += 1
                ready = [actor for actor in self.actors if actor.state == "waiting"]
                chosen = self.random.sample(ready, min(len(ready), self.random.choice((1, 1, 2))))
                for actor in chosen:
                    actor.state = "running"
                    actor.may_go.release()
            if rounds > PATIENCE and not self.is_over:
                self.wrong.append(f"it does not come to rest: {self.run_of.saga.__dict__}")
                self.is_over = True

    def is_still(self) -> bool:
        return all(actor.state in ("waiting", "gone") for actor in self.actors)

    def at_stop(self) -> None:
        actor = threading.current_thread()
        if isinstance(actor, Actor) and actor.turn is not None:
            actor.stop()

    # Workers

    def work(self, actor: Actor) -> None:
        while not self.is_over:
            job = self.pick(actor)
            if job is not None:
                self.serve(actor, job)
            actor.stop()

    def pick(self, actor: Actor) -> Any:
        jobs = list(Job.objects.filter(subject_id=str(self.run_of.id), state="pending").order_by("id"))
        with self.changed:
            free = [job for job in jobs if job.id not in self.hands]
            taken = [job for job in jobs if job.id in self.hands and job.id not in self.given_again]
            if taken and self.random.random() < 0.1:
                job = self.random.choice(taken)
                self.given_again.add(job.id)
                self.hands[job.id].is_lost = True
            elif free:
                job = self.random.choice(free)
            else:
                return None
            self.hands[job.id] = actor
            actor.is_lost = False
            return job

    def serve(self, actor: Actor, job: Any) -> None:
        actor.turn = Turn(self.run_of.id, Dance.definition, runner=job.id)
        told = actor.turn._tell
        actor.turn._tell = lambda event: self.record(told(event), type(event).__name__)  # type: ignore[method-assign]
        try:
            _, _, step = job.task.partition("__")
            if step:
                actor.turn.run_step(step)
            else:
                actor.turn.run()
        finally:
            actor.turn = None
        if not actor.is_lost:
            Job.objects.filter(id=job.id).update(state="succeeded", finished_at=timezone.now())

    def record(self, outcome: Any, who: str) -> Any:
        with self.changed:
            revision = outcome.run.revision
            if revision in self.made:
                self.wrong.append(f"revision {revision} was made twice: {self.made[revision]}, {who}")
            self.made[revision] = f"{who} {' '.join(note.what for note in outcome.notes)}"
        return outcome

    def step(self, context: Context, what: str) -> None:
        """What a step does: it is entered, somebody else has his turn, it is left."""
        actor = threading.current_thread()
        assert isinstance(actor, Actor)
        with self.changed:
            others = [other for other in self.inside.setdefault(what, []) if not other.is_lost]
            if others and not actor.is_lost:
                self.wrong.append(f"two workers are in {what}")
            self.inside[what].append(actor)
            fate = self.random.random()
        actor.stop()
        with self.changed:
            self.inside[what].remove(actor)
            self.done.add(context.idempotency_key)
        # What undoes fails more often: that is where a person is needed.
        if fate < (0.5 if what.startswith("-") else 0.2):
            raise Tripped(what)

    def in_step(self, what: str) -> list[Actor]:
        with self.changed:
            return list(self.inside.get(what, []))

    # Who steers

    def operate(self, actor: Actor) -> None:
        for _ in range(self.random.randint(2, 6)):
            for _ in range(self.random.randint(0, 30)):
                actor.stop()
            self.steer()

    def steer(self) -> None:
        name = self.random.choice(CALM if self.run_of.state == SagaState.NEEDS_ATTENTION else BUSY)
        step, answer = self.choose_step(), "refused"
        try:
            if name == "signal":
                self.run_of.signal("music", name)
            else:
                verbs = {"cancel": Cancel(), "compensate": Compensate(), "retry": RetryStep(step),
                         "skip": SkipStep(step, "it is seen to"), "resume": Resume()}  # fmt: skip
                _, outcome = store.tell(self.run_of.id, verbs[name], timezone.now(), who="an operator")
                self.record(outcome, name)
                if name == "skip" and any(not each.is_lost for at in (step, f"-{step}") for each in self.in_step(at)):
                    self.wrong.append(f"{step} was skipped while a worker was in it")
            answer = "obeyed"
        except (Refused, WrongState):
            pass
        with self.changed:
            self.verbs[f"{name} {answer}"] = self.verbs.get(f"{name} {answer}", 0) + 1

    def choose_step(self) -> str:
        """One that something is going on with, more often than not."""
        rows = SagaStep.objects.filter(saga=self.run_of.id).exclude(state__in=["succeeded", "skipped", "compensated"])
        busy = sorted(rows.values_list("name", flat=True))
        return self.random.choice(busy if busy and self.random.random() < 0.7 else STEPS)

    def keep(self, actor: Actor) -> None:
        while not self.is_over:
            Keeper().run_once(timezone.now())
            if not self.is_steered:
                self.come_to_an_end()
            actor.stop()

    def come_to_an_end(self) -> None:
        if SagaStep.objects.filter(saga=self.run_of.id, name="music", state="waiting").exists():
            self.run_of.signal("music", "at last")
        if self.run_of.state == SagaState.NEEDS_ATTENTION and self.helps:
            self.helps -= 1
            self.steer()
        left = Job.objects.filter(subject_id=str(self.run_of.id), state="pending").exists()
        if self.run_of.state in AT_REST and not left and all(actor.turn is None for actor in self.actors):
            self.is_over = True

    # What has to be true

    def judge(self) -> None:
        saga = self.run_of.saga
        lines = list(SagaEvent.objects.filter(saga=saga.id).order_by("id").values_list("revision", "what"))
        told: dict[int, list[str]] = {}
        for revision, what in lines:
            told.setdefault(revision, []).append(what)
        if sorted(told) != list(range(1, saga.revision + 1)):
            self.wrong.append(f"it is at revision {saga.revision}, and its history has {sorted(told)}")
        for revision, made in self.made.items():
            if made.split()[1:] != told.get(revision):
                self.wrong.append(f"revision {revision} was {made}, and its history says {told.get(revision)}")
        for step in SagaStep.objects.filter(saga=saga.id).exclude(name="music"):
            key = f"{saga.id}-{step.name}-{step.round}"
            if step.state in ("succeeded", "compensated") and key not in self.done:
                self.wrong.append(f"{step.name} is {step.state}, and was not done")
            if step.state == "compensated" and f"{key}-rollback" not in self.done:
                self.wrong.append(f"{step.name} is compensated, and was not undone")
            if step.state in ("running", "compensating", "queued", "compensation_queued", "retrying"):
                self.wrong.append(f"{step.name} is {step.state} at the end")
