"""The seam to Celery: the only room that imports Celery or kombu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.celery.application import Celery, get_app, is_without_app, ready_made_app

if TYPE_CHECKING:
    app: Celery

__all__ = ["Celery", "app", "get_app", "is_without_app"]


def __getattr__(name: str) -> Any:
    # ``celery -A taskyard`` looks for ``taskyard.celery.app``. It is made when asked for, so that a project with an app
    # of its own never has two.
    if name == "app":
        return ready_made_app()
    raise AttributeError(name)
