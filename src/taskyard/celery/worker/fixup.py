"""Celery's Django set-up without its closing of every connection around every task."""

from __future__ import annotations

import os
from typing import Any

from celery import signals
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup


def fixup(app: Any, env: str = "DJANGO_SETTINGS_MODULE") -> Any:
    """Install it where a settings module is named, as Celery's own does."""
    if not os.environ.get(env):
        return None
    return JobFixup(app).install()


class JobFixup(DjangoFixup):
    """Discovers tasks, checks models, makes connections fork-safe; connections live on between jobs."""

    @property
    def worker_fixup(self) -> DjangoWorkerFixup:
        """Celery's, installed our way."""
        if self._worker_fixup is None:
            self._worker_fixup = JobWorkerFixup(self.app)
        return self._worker_fixup

    @worker_fixup.setter
    def worker_fixup(self, value: DjangoWorkerFixup) -> None:
        self._worker_fixup = value


class JobWorkerFixup(DjangoWorkerFixup):
    """Closes inherited connections in a new child; after jobs ``taskyard.celery.worker.connections`` decides."""

    def install(self) -> DjangoWorkerFixup:
        """Connect to the worker's signals."""
        signals.beat_embedded_init.connect(self.close_database)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self._close_database()
        self.close_cache()
        return self
