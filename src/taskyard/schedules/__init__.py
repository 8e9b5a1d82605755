"""What runs by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.schedules.recurrence import At, Bounds, Calendar, Cron, Every

if TYPE_CHECKING:
    from taskyard.schedules.models import Occurrence, Schedule
    from taskyard.schedules.sources.code import register, schedule

__all__ = ["At", "Bounds", "Calendar", "Cron", "Every", "Occurrence", "Schedule", "register", "schedule"]

# Models cannot be imported before Django has loaded its apps, and modules may name recurrences by then.
_HOMES = {
    "Occurrence": "taskyard.schedules.models",
    "Schedule": "taskyard.schedules.models",
    "register": "taskyard.schedules.sources.code",
    "schedule": "taskyard.schedules.sources.code",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
