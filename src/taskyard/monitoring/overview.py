"""Everything on one screen: workers, queues, what ended lately, and what is held back."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils import timezone

from taskyard.jobs import queries
from taskyard.jobs.queries import QueueOverview, WorkerOverview
from taskyard.operations import Actor
from taskyard.outbox.queries import Hold, has_outboxes, not_entered, read_holds, relay_overview
from taskyard.sagas.reading.queries import Attention, needing_attention, not_looked_at
from taskyard.settings import get_settings

_HOUR = dt.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How it stands. Of jobs, those of whoever is looking."""

    at: dt.datetime
    workers: Sequence[WorkerOverview]
    queues: Sequence[QueueOverview]
    #: Since when, by queue.
    paused: Mapping[str, dt.datetime]
    ended_last_hour: Mapping[str, int]
    #: Queues and tenants that operators hold back though jobs are due; to a tenant, itself alone.
    held_back: Sequence[Hold]
    #: Sagas that wait for a person, and those that nobody looked at though their time has come.
    sagas_needing_attention: Attention
    sagas_not_looked_at: Attention
    #: Tenants that could not be entered, and the relay of outboxes; to operators of all tenants.
    tenants_not_entered: Sequence[Any]
    relay: Any

    def document(self) -> dict[str, Any]:
        """As commands and interfaces give it."""
        queues = [{**dataclasses.asdict(queue), "paused_at": self.paused.get(queue.name)} for queue in self.queues]
        said = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "paused"}
        return {**said, "queues": queues}


def overview(actor: Actor) -> Overview:
    """How it stands, to somebody; raises :class:`~taskyard.errors.NotAllowed`."""
    for permission in ("view_queue", "view_worker"):
        actor.require(permission)
    now, tenant = timezone.now(), actor.tenant
    queues = queries.queue_overview(now, tenant=tenant)
    holds, is_operator = read_holds(queues), actor.is_for_all
    return Overview(
        at=now, workers=queries.worker_overview(now, tenant=tenant), queues=queues,
        paused={name: hold.paused_at for name, hold in holds.queues.items() if hold.paused_at},
        ended_last_hour=queries.ended_since(now - _HOUR, tenant=tenant),
        held_back=[hold for hold in holds.holding if is_operator or (hold.kind, hold.name) == ("tenant", tenant)],
        sagas_needing_attention=needing_attention(tenant=tenant), sagas_not_looked_at=not_looked_at(now, tenant=tenant),
        tenants_not_entered=not_entered(now) if is_operator and get_settings().tenancy else [],
        relay=relay_overview(now) if is_operator and has_outboxes() else None,
    )  # fmt: skip
