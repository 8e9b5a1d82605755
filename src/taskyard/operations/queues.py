"""Verbs about queues. A queue is everybody's: pausing and limiting one is for operators of all tenants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from taskyard.errors import UnknownQueue
from taskyard.jobs import queries
from taskyard.jobs.pages import queues as pages
from taskyard.jobs.pages.queues import QueueGlance
from taskyard.jobs.queries import JobFilter, QueueOverview
from taskyard.jobs.states import State
from taskyard.operations.acting import holding
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.verbs import verb
from taskyard.operations.bulk.order import Order, done_here, selected
from taskyard.outbox.models import QueueSetting
from taskyard.settings import get_settings
from taskyard.tasks.doors import door

_SECOND = dt.timedelta(seconds=1)
#: What waits in a queue: for its time, for its turn, or for a worker.
_WAITING = (State.PENDING.value, State.RETRYING.value, State.QUEUED.value)


@verb("queue", "view_queue", reads=True)
def list_(actor: Actor) -> list[QueueOverview]:
    """Every queue and what stands in it, of the actor's own jobs; also those that are paused and empty."""
    found = queries.queue_overview(timezone.now(), tenant=actor.tenant)
    known = {queue.name for queue in found}
    return found + [QueueOverview(name=name) for name in sorted(paused()) if name not in known]


def glance(actor: Actor) -> list[QueueGlance]:
    """The same by counts that stop, for pages that are to come up at once however long the backlog is."""
    actor.require("view_queue")
    known = tuple(QueueSetting.objects.order_by("name").values_list("name", flat=True))
    return pages.glance(timezone.now(), tenant=actor.tenant, known=known)


def paused() -> dict[str, QueueSetting]:
    """The settings of those that are held back, by name."""
    return {row.name: row for row in QueueSetting.objects.paused()}


@verb("queue", "pause_queue", for_all=True)
def pause(actor: Actor, names: Sequence[str], *, reason: str = "") -> int:
    """Feeds nothing of queues to workers until they are resumed; how many were not paused before."""
    check_names(names)
    return holding.pause(actor, "queue", names=names, reason=reason)


@verb("queue", "pause_queue", for_all=True)
def resume(actor: Actor, names: Sequence[str], *, reason: str = "") -> int:
    """Feeds queues again; how many were paused."""
    check_names(names)
    return holding.resume(actor, "queue", names=names, reason=reason)


@verb("queue", "limit_queue", for_all=True)
def limit(actor: Actor, /, name: str, *, per: dt.timedelta = _SECOND, **said: Any) -> QueueSetting:
    """Says how much of a queue may run: ``max_running`` at a time, ``rate`` starts ``per`` that time; None: any number.

    What is not given stays. Raises :class:`~taskyard.errors.InvalidLimit`.
    """
    check_names([name])
    row: QueueSetting = holding.limit(actor, "queue", name=name, per=per, said=said)
    return row


def clearing(actor: Actor, queue: str, *, reason: str = "") -> Order:
    """To cancel everything that waits in a queue, see :mod:`taskyard.operations.bulk.order`; nothing is done yet.

    Of an actor's own tenant, where it has one. What runs, runs on; so does what waits for a canvas.
    """
    actor.require("clear_queue")
    check_names([queue])
    wanted = JobFilter(queue=queue, states=_WAITING, tenant=actor.tenant)
    return Order(
        kind="queue", verb="clear", act="cancel", target=queue, selection=selected(wanted, _WAITING), reason=reason
    )


@verb("queue", "clear_queue", takes=_WAITING)
def clear(actor: Actor, queue: str, *, reason: str = "") -> int:
    """Cancels everything that waits in a queue, here and now; how many were cancelled."""
    return done_here(actor, clearing(actor, queue, reason=reason))


def check_names(names: Sequence[str]) -> None:
    """Raises :class:`~taskyard.errors.UnknownQueue` for a queue that ``TASKYARD["QUEUES"]`` does not list."""
    settings = get_settings()
    known = [*settings.queues, *settings.handover, door("default_queue")()]
    for name in names:
        if settings.queues and name not in known:
            raise UnknownQueue(name, known)
