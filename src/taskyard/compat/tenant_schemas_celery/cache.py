"""A dictionary whose entries expire."""

from __future__ import annotations

import threading
import time
from collections.abc import MutableMapping
from typing import Any


class SimpleCache:
    """Values with an age; threads may share one, and caches may share a ``storage``."""

    def __init__(self, storage: MutableMapping[Any, tuple[Any, float]] | None = None) -> None:
        self._entries = {} if storage is None else storage
        self._lock = threading.Lock()

    def get(self, key: Any, default: Any) -> Any:
        """The value, or ``default`` where there is none or it has expired."""
        with self._lock:
            value, expires_at = self._entries.get(key, (default, 0.0))
        # The wall clock: a test that moves the time must be able to move this one.
        return value if time.time() <= expires_at else default

    def set(self, key: Any, value: Any, expire_seconds: float) -> None:
        """Keep a value for so many seconds."""
        with self._lock:
            self._entries[key] = value, time.time() + expire_seconds
