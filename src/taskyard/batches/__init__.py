"""Many jobs as one thing: counted, followed, cancelled together, and something after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.batches.models import Batch
    from taskyard.batches.tracked import TrackedModel

__all__ = ["Batch", "TrackedModel"]

# Models cannot be imported before Django has loaded its apps.
_HOMES = {"Batch": "taskyard.batches.models", "TrackedModel": "taskyard.batches.tracked"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
