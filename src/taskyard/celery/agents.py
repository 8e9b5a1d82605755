"""The agents every worker carries, and ``taskyard scheduler`` runs alone."""

from __future__ import annotations

import uuid

from taskyard.celery.publisher import BrokerPublisher
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.outbox.feeder import Feeder
from taskyard.runtime.loop import Agent


def build_agents(owner: uuid.UUID) -> list[Agent]:
    """A feeder, a rescuer and a pruner; ``owner`` is the worker they belong to."""
    return [Feeder(owner, BrokerPublisher()), Rescuer(), Pruner()]
