"""Those who use Taskyard: callers that enqueue in transactions, and operators."""

from __future__ import annotations

import datetime as dt

from django.db import InterfaceError, OperationalError, transaction

from taskyard import enqueue
from taskyard.execution import steering
from taskyard.jobs.ids import new_id
from taskyard.jobs.rows.newjob import NewJob
from taskyard.outbox.models import QueueSetting
from tests.simulation.jobs import Spec
from tests.simulation.oracle import Intent
from tests.simulation.world import Process, World

_GONE = (OperationalError, InterfaceError)


class _GivesUp(Exception):
    """The caller's own error: its transaction, or its savepoint, is rolled back."""


class Caller(Process):
    """A web request, say."""

    def act(self) -> None:
        """One transaction, or a few enqueues without one."""
        rng, world = self.world.rng, self.world
        specs = [world.new_job(self.now()) for _ in range(rng.choice((1, 1, 2, 3)))]
        intent = Intent("enqueue", births=list(specs))
        try:
            with world.meaning(intent):
                if rng.random() < 0.3:
                    for spec in specs:
                        self._enqueue(spec, intent)
                else:
                    self._transaction(specs, intent)
        except (_GivesUp, *_GONE):
            world.count("transactions rolled back")

    def _transaction(self, specs: list[Spec], intent: Intent) -> None:
        rng = self.world.rng
        with transaction.atomic():
            for spec in specs:
                try:
                    with transaction.atomic():
                        job = self._enqueue(spec, intent)
                        self.world.database.journal.note("promised", job)
                        if rng.random() < 0.15:
                            raise _GivesUp
                except _GivesUp:
                    # From here on its row would be a phantom.
                    intent.births = [one for one in intent.births if one is not spec]
            if rng.random() < 0.15:
                intent.births.clear()
                raise _GivesUp

    def _enqueue(self, spec: Spec, intent: Intent) -> object:
        rng, now = self.world.rng, self.now()
        if rng.random() < 0.15 and not spec.is_unique:
            return self._write(spec, now)
        due = dt.datetime.fromtimestamp(spec.due_at, dt.UTC)
        # Keys are per tenant, and the oracle knows them by the task alone.
        tenant = "" if spec.is_unique else ("", "acme", "globex")[len(self.world.oracle.records) % 3]
        call = spec.task.using(
            priority=rng.choice((None, None, -5, 5)), run_after=due if due > now else None, tenant=tenant
        )
        job = call.enqueue(**spec.arguments)
        known = job.id in self.world.oracle.records
        if not job.created and known and spec.lock is not None:
            self.world.count("duplicates refused")
            self.world.oracle.refused_as_duplicate(spec.lock, job.id)
        return job.id

    def _write(self, spec: Spec, now: dt.datetime) -> object:
        """As Celery's calls come in: a finished row, with an expiry."""
        options = spec.task.options
        expires = now + dt.timedelta(seconds=self.world.rng.uniform(0.5, 6))
        job = NewJob(
            id=new_id(), task=spec.task.name, queue=options.queue or "", created_at=now,
            available_at=dt.datetime.fromtimestamp(spec.due_at, dt.UTC), kwargs=spec.kwargs, expires_at=expires,
            max_attempts=options.retry.max_retries + 1,
        )  # fmt: skip
        spec.expires_at = expires.timestamp()
        enqueue.write([job], "default")
        return job.id


class Operator(Process):
    """Somebody at a terminal."""

    def act(self) -> None:
        """Cancel, bring back, set aside, hold back a queue."""
        rng, now = self.world.rng, self.now()
        verb = rng.choice(("cancel", "cancel", "retry", "retry", "discard", "pause", "resume"))
        oracle = self.world.oracle
        known = sorted(oracle.unfinished if verb == "cancel" and oracle.unfinished else oracle.records)
        chosen = rng.sample(known, min(len(known), rng.randint(1, 4)))
        self.world.note("", f"{verb} {chosen}", self)
        try:
            with self.world.meaning(Intent(verb)):
                if verb == "pause":
                    QueueSetting.objects.pause([rng.choice(("high", "low", "outside"))], now)
                elif verb == "resume":
                    QueueSetting.objects.resume(["high", "low", "outside"])
                else:
                    getattr(steering, verb)(chosen, now)
                    if verb == "cancel":
                        oracle.cancelled(chosen)
        except _GONE:
            pass


def people(world: World) -> None:
    """Everybody comes at a moment of their own."""
    for number in range(world.plan.transactions):
        caller = Caller(world, f"caller-{number}")
        world.at(world.rng.uniform(0, world.plan.seconds * 0.5), caller, "acts", caller.act)
    for number in range(world.plan.steers):
        operator = Operator(world, f"operator-{number}")
        world.at(world.rng.uniform(0.2, 1.0) * world.plan.seconds, operator, "acts", operator.act)
