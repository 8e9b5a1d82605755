"""Orchestrators: steps with compensations that survive whatever happens to those who run them.

``@orchestrator`` declares one, ``start()`` begins a saga of it. Each step runs at least once, what is written of it is
written once; when one fails, what was done before it is compensated, the latest first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# The terminal names states of sagas before Django has loaded its apps, and models cannot be imported then.
_HOMES = {
    "Context": "context",
    "Handle": "handle",
    "Orchestrator": "declaring.orchestrator",
    "Step": "declaring.steps",
    "child": "declaring.steps",
    "get_orchestrator": "declaring.registry",
    "orchestrator": "declaring.orchestrator",
    "signal": "declaring.steps",
    "step": "declaring.steps",
    "timer": "declaring.steps",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
