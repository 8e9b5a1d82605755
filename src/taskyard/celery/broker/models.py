"""Tables of the database broker, for everything that is not a job: remote control, events, untracked tasks."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models


class Message(models.Model):
    """One message in one queue. Job messages have none: there the queued row itself is the message."""

    id = models.BigAutoField(primary_key=True)
    queue = models.CharField(max_length=255)
    #: Higher is sooner.
    priority = models.SmallIntegerField(default=0)
    #: kombu's message as JSON.
    payload = models.TextField()
    created_at = models.DateTimeField()
    #: Not delivered after this time, and swept away.
    expires_at = models.DateTimeField(null=True)
    #: The consumer that has it in hand, until when (it renews that), and how often it was handed out.
    taken_by = models.UUIDField(null=True)
    taken_until = models.DateTimeField(null=True)
    deliveries = models.IntegerField(default=0)

    class Meta:
        app_label = "taskyard"
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["queue", "-priority", "id"], name="taskyard_message_next"),
            models.Index(fields=["expires_at"], name="taskyard_message_expiry"),
        ]

    def __str__(self) -> str:
        return f"message {self.id} in {self.queue}"


class Binding(models.Model):
    """A queue bound to an exchange. Each declared queue is also bound to the exchange ``""`` by its own name."""

    exchange = models.CharField(max_length=190)
    #: How the exchange routes: ``direct``, ``topic`` or ``fanout``. Kept here so that a publisher need not know.
    kind = models.CharField(max_length=10, default="direct")
    routing_key = models.CharField(max_length=190, default="")
    queue = models.CharField(max_length=190)
    #: Seconds a message stays in this queue (``x-message-ttl``); NULL: until consumed.
    message_ttl = models.FloatField(null=True)
    #: NULL: permanent. Else removed, with its messages, when its consumer has not renewed it by then.
    expires_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["exchange", "routing_key", "queue"], name="taskyard_binding_once")
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["queue"], name="taskyard_binding_queue")]

    def __str__(self) -> str:
        return f"{self.exchange} -> {self.queue}"
