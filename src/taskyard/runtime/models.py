"""Rows of long-running processes: workers and leases."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from taskyard.runtime.fields import JsonTextField


class Worker(models.Model):
    """One process that works or carries agents: what it consumes, who its children are, when it was last heard of."""

    id = models.UUIDField(primary_key=True)
    #: ``worker``, or ``scheduler`` for one that carries agents alone.
    role = models.CharField(max_length=16, default="worker", db_default="worker")
    #: Celery's node name, ``name@host``.
    name = models.CharField(max_length=255)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    #: Logical names of the queues it consumes.
    queues = JsonTextField(default=list)
    #: How many jobs it runs at once.
    slots = models.IntegerField(default=1)
    #: Process ids of its pool children (empty for the threads and solo pools).
    children = JsonTextField(default=list)
    version = models.CharField(max_length=32, default="")
    started_at = models.DateTimeField()
    #: Counts up with each heartbeat: a rescuer looks for change, not at the clock of another host.
    beats = models.BigIntegerField(default=0)
    heartbeat_at = models.DateTimeField()
    #: Set when it was asked to stop: it takes nothing new.
    stopping_at = models.DateTimeField(null=True)
    #: How it goes on, as of its last heartbeat: ``{"agents": {name: {"at", "next_at", "failures"}}}``; of a worker
    #: ``claimed_at``, ``in_hand`` and ``is_connecting`` too (:mod:`taskyard.runtime.heartbeat`). NULL: it does not say.
    pulse = JsonTextField(null=True)

    class Meta:
        app_label = "taskyard"
        permissions: ClassVar[list[Any]] = [("stop_worker", "Can stop workers")]

    def __str__(self) -> str:
        return self.name


class Lease(models.Model):
    """The right to play a role (``feeder:celery``) until a time."""

    name = models.CharField(max_length=255, primary_key=True)
    owner = models.UUIDField()
    expires_at = models.DateTimeField()
    #: Counts up with each change of owner.
    term = models.BigIntegerField(default=1)

    class Meta:
        app_label = "taskyard"

    def __str__(self) -> str:
        return self.name
