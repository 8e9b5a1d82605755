"""Is the work moving: workers, queues, feeder, jobs that overstay?"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from taskyard.jobs import queries
from taskyard.jobs.detail import has_feeder
from taskyard.jobs.queries import QueueOverview, WorkerOverview
from taskyard.monitoring.diagnosis import tenants
from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.words import counted, duration
from taskyard.outbox.queries import Holds, read_holds

#: A due job that is not fed within this time, while slots are free, has no feeder that works.
_FEEDING_TAKES = dt.timedelta(seconds=10)
#: A due job that waits longer than this for a busy worker wants more slots.
_LONG_WAIT = dt.timedelta(minutes=5)
_LIMIT_GRACE = dt.timedelta(seconds=30)


def workers() -> Iterator[Finding]:
    """Heartbeats, and names that two workers share."""
    found = queries.worker_overview(dt.datetime.now(dt.UTC))
    alive = [worker for worker in found if worker.state == "alive"]
    slots = sum(worker.slots for worker in alive)
    if alive:
        busy = sum(worker.running for worker in alive)
        yield ok("workers", f"{len(alive)} alive, {busy} of {slots} slots busy")
    elif any(queue.due or queue.queued for queue in queries.queue_overview(dt.datetime.now(dt.UTC))):
        yield fail("workers", "none is alive, and work is waiting", fix="Start one: taskyard worker")
    else:
        yield warn("workers", "none is alive", fix="Start one: taskyard worker")
    yield from _silent([worker for worker in found if worker.state == "silent"])
    yield from _twice(alive)


def _silent(silent: list[WorkerOverview]) -> Iterator[Finding]:
    if not silent:
        return
    names = ", ".join(f"{worker.name} ({duration(worker.heartbeat_age_seconds)})" for worker in silent)
    yield warn(
        "silent workers", f"no heartbeat of {names}",
        fix="If the process is gone, any running worker or scheduler gives its jobs back within half a minute; "
        "if it is there, it is frozen or cannot reach the database.",
    )  # fmt: skip


def _twice(alive: list[WorkerOverview]) -> Iterator[Finding]:
    for name, number in Counter(worker.name for worker in alive).items():
        if number > 1:
            says = f"{number} workers are called {name}: remote control reaches both or neither"
            yield warn("running twice", says, fix="Stop one of them, or give each a name: taskyard worker -n NAME@%h")


def queues() -> Iterator[Finding]:
    """Waiting work without a worker, without a feeder, or with too few slots; queues and tenants that are held back."""
    now = dt.datetime.now(dt.UTC)
    found = queries.queue_overview(now)
    holds = read_holds(found)
    findings = [finding for queue in found for finding in _queue(queue, now, holds)]
    findings += tenants.held([hold for hold in holds.holding if hold.kind == "tenant"], now)
    yield from findings or [ok("queues", "each queue with work has a worker and is fed")]


def _queue(queue: QueueOverview, now: dt.datetime, holds: Holds) -> Iterator[Finding]:
    from taskyard.settings import get_settings

    name, hold = f"queue {queue.name}", holds.queues.get(queue.name)
    startable, is_stopped = holds.without_stopped(queue), hold is not None and hold.is_stopped
    if hold is not None and hold.paused_at is not None:
        resume = f"When it may go on: taskyard queues resume {queue.name}"
        says = f"paused; {counted(queue.due, 'due job waits', more='due jobs wait')}"
        yield warn(name, says, fix=resume, facts={"due": queue.due})
    elif queue.name in get_settings().handover:
        return
    elif (startable.due or queue.queued) and not queue.slots and not is_stopped:
        says = f"{counted(startable.due + queue.queued, 'job waits', more='jobs wait')} and no live worker consumes it"
        yield fail(name, says, fix=f"Start one: taskyard worker -Q {queue.name}")
    elif not is_stopped and _waits(startable, now) > _FEEDING_TAKES and not has_feeder(queue.name, now):
        yield fail(
            name, f"{counted(startable.due, 'job is due', more='jobs are due')}, the oldest for "
            f"{duration(_waits(startable, now))}, and no feeder acts for it",
            fix="Start one: taskyard scheduler (workers bring one unless TASKYARD['AGENTS'] is False).",
        )  # fmt: skip
    elif hold is not None and hold.is_holding:
        yield tenants.held_finding(hold, now)
    else:
        free = holds.without_held(queue)
        yield from _too_slow(free, _waits(free, now))


def _too_slow(queue: QueueOverview, waits: dt.timedelta) -> Iterator[Finding]:
    name = f"queue {queue.name}"
    if waits > _FEEDING_TAKES and queue.running + queue.queued < queue.slots:
        says = counted(queue.due, "job is due", more="jobs are due")
        says += f", the oldest for {duration(waits)}, while slots are free"
        yield fail(name, says, fix="The feeder does not get through: look at the log of the workers and at the broker.")
    elif waits > _LONG_WAIT:
        says = counted(queue.due, "job waits", more="jobs wait")
        says += f", the oldest for {duration(waits)}, and all {queue.slots} slots are busy"
        yield warn(name, says, fix=f"Add slots: taskyard worker -Q {queue.name} -c N, on this host or another")


def _waits(queue: QueueOverview, now: dt.datetime) -> dt.timedelta:
    return now - queue.oldest_due_at if queue.due and queue.oldest_due_at else dt.timedelta(0)


def long_runners() -> Iterator[Finding]:
    """Running jobs past their hard time limit."""
    late = queries.past_their_limit(dt.datetime.now(dt.UTC), _LIMIT_GRACE)
    if not late:
        yield ok("time limits", "no job runs past its limit")
        return
    names = ", ".join(f"{job.task} {job.id}" for job in late[:3]) + (
        f" and {len(late) - 3} more" if len(late) > 3 else ""
    )
    yield fail(
        "time limits", f"{len(late)} run past their limit: {names}",
        fix="The threads and solo pools do not enforce limits: run these tasks in a prefork worker.",
    )  # fmt: skip
