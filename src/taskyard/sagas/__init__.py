"""Orchestrators: steps with compensations that survive whatever happens to those who run them.

``@orchestrator`` declares one, ``start()`` begins a saga of it. Each step runs at least once, what is written of it is
written once; when one fails, what was done before it is compensated, the latest first.
"""

from taskyard.sagas.context import Context
from taskyard.sagas.declaring.orchestrator import Orchestrator, orchestrator
from taskyard.sagas.declaring.registry import get_orchestrator
from taskyard.sagas.declaring.steps import Step, child, signal, step, timer
from taskyard.sagas.handle import Handle

__all__ = [
    "Context",
    "Handle",
    "Orchestrator",
    "Step",
    "child",
    "get_orchestrator",
    "orchestrator",
    "signal",
    "step",
    "timer",
]
