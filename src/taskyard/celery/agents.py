"""The agents every worker carries, and ``taskyard scheduler`` runs alone."""

from __future__ import annotations

import uuid

from celery.utils.time import maybe_timedelta

from taskyard.batches.teller import Teller
from taskyard.celery.application import get_app
from taskyard.celery.publisher import BrokerPublisher
from taskyard.enqueue import INTAKE
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.relay import Relay
from taskyard.runtime.loop import Agent
from taskyard.sagas.keeper import Keeper
from taskyard.schedules.scheduler import Scheduler
from taskyard.settings import get_settings


def build_agents(owner: uuid.UUID) -> list[Agent]:
    """One of each agent, a relay only where there are outboxes; ``owner`` is their worker."""
    expires, settings = get_app().conf.result_expires, get_settings()
    agents: list[Agent] = [
        Feeder(owner, BrokerPublisher()),
        Rescuer(),
        Scheduler(),
        Teller(),
        Keeper(),
        Pruner(result_expires=maybe_timedelta(expires)),
    ]
    if settings.tenancy == "databases" or settings.outbox_databases:
        agents.append(Relay(owner, INTAKE))
    return agents
