"""Verbs about workers. A worker is everybody's: stopping one is for operators of all tenants."""

from __future__ import annotations

import uuid

from django.utils import timezone

from taskyard.errors import NotFound, WrongState
from taskyard.jobs import queries
from taskyard.jobs.queries import WorkerOverview
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.entries import Deed, write_down
from taskyard.operations.acting.verbs import verb
from taskyard.tasks.doors import door


@verb("worker", "view_worker", reads=True)
def list_(actor: Actor) -> list[WorkerOverview]:
    """Every worker, and how many of the actor's own jobs it runs."""
    return queries.worker_overview(timezone.now(), tenant=actor.tenant)


@verb("worker", "stop_worker", for_all=True)
def stop(actor: Actor, worker: uuid.UUID | str, *, reason: str = "") -> WorkerOverview:
    """Asks a worker, by its id or its name, to stop as SIGTERM does: it takes nothing new and finishes what runs.

    It is told through the broker, so this may raise :class:`~taskyard.errors.BrokerUnreachable`. That it was told is
    all that is known when this returns: its row says ``stopping`` once it has heard, and is gone when it has ended.
    Nothing starts another one but what started this one.
    """
    found = [each for each in queries.worker_overview(timezone.now()) if str(worker) in (str(each.id), each.name)]
    if not found:
        raise NotFound("worker", worker)
    alive = [each for each in found if each.state == "alive"]
    if not alive:
        raise WrongState("worker", worker, f"it is {found[0].state}")
    door("stop_worker")(alive[0].name)
    # Written once it was told: an entry that says so must not outlive a broker that was away.
    deed = Deed(target=alive[0].name, before={"state": "alive"}, said={"id": str(alive[0].id)}, reason=reason)
    write_down(actor, "worker", "stop", deed)
    return alive[0]
