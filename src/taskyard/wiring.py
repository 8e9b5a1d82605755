"""Connects declarations to the rooms above them, once, when Django has loaded."""

from __future__ import annotations


def connect() -> None:
    """Called by ``TaskyardConfig.ready()``."""
