"""The agents every worker carries, and ``taskyard scheduler`` runs alone."""

from __future__ import annotations

import uuid

from celery.utils.time import maybe_timedelta

from taskyard.celery.application import get_app
from taskyard.celery.publisher import BrokerPublisher
from taskyard.execution.pruner import Pruner
from taskyard.execution.rescuer import Rescuer
from taskyard.outbox.feeder import Feeder
from taskyard.runtime.loop import Agent


def build_agents(owner: uuid.UUID) -> list[Agent]:
    """A feeder, a rescuer and a pruner; ``owner`` is the worker they belong to."""
    expires = get_app().conf.result_expires
    return [Feeder(owner, BrokerPublisher()), Rescuer(), Pruner(result_expires=maybe_timedelta(expires))]
