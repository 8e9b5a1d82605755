"""What was done by whom, one row for each deed, kept for ever; and the keys of programs that act."""

from __future__ import annotations

import datetime as dt
from typing import ClassVar, Self

from django.db import models

from taskyard.runtime.fields import JsonTextField
from taskyard.settings import get_settings


class AuditQuerySet(models.QuerySet):  # type: ignore[type-arg]
    """Words for finding entries."""

    def visible_to(self, tenant: str | None) -> Self:
        """What whoever is looking may see: a tenant what was done to its own, an operator (None) all of it."""
        return self.all() if tenant is None else self.filter(tenant=tenant)


class AuditManager(models.Manager):  # type: ignore[type-arg]
    """``AuditEntry.objects``: always on the control database."""

    def get_queryset(self) -> AuditQuerySet:
        return AuditQuerySet(self.model, using=self._db or get_settings().database)

    def visible_to(self, tenant: str | None) -> AuditQuerySet:
        """What whoever is looking may see."""
        return self.get_queryset().visible_to(tenant)


class AuditEntry(models.Model):
    """One verb that somebody was allowed to use; written with what it did, in one transaction. Nothing prunes these.

    It never holds arguments, results or the words of errors, so that whoever may read it need not be allowed to see
    those.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    #: As the actor was called then, and the primary key of its user; empty: it was no user of Django.
    who = models.CharField(max_length=150)
    user = models.CharField(max_length=150, default="")
    #: Whose thing it was; empty: nobody's, or those of several tenants.
    tenant = models.CharField(max_length=63, default="")
    #: What was done to what: ``retry`` and ``job``; see :mod:`taskyard.operations.acting.verbs`.
    verb = models.CharField(max_length=32)
    kind = models.CharField(max_length=32)
    #: The id or name of one thing, or several in words.
    target = models.CharField(max_length=300, default="")
    #: How many were changed; NULL: not known yet, because the job that does it has not ended a batch.
    count = models.IntegerField(null=True, default=1)
    #: What the verb changes, before and after it.
    before = JsonTextField(null=True)
    after = JsonTextField(null=True)
    #: What was asked for besides: a selection, a rate.
    said = JsonTextField(null=True)
    reason = models.CharField(max_length=500, default="")
    #: From where, and from which network address.
    via = models.CharField(max_length=32, default="")
    address = models.CharField(max_length=64, default="")
    #: The job of ours that does it, where it takes long.
    job = models.UUIDField(null=True)

    objects: ClassVar[AuditManager] = AuditManager()

    class Meta:
        app_label = "taskyard"
        default_permissions = ("view",)
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [
            models.Index(fields=["tenant", "id"], name="taskyard_audit_tenant"),
            models.Index(fields=["kind", "target", "id"], name="taskyard_audit_target"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.verb} {self.kind} {self.target}"


class ApiToken(models.Model):
    """A key to the HTTP API. Revoked and expired ones stay, so that the audit can be read."""

    name = models.CharField(max_length=100)
    #: The part that is shown and logged; the secret begins with it.
    prefix = models.CharField(max_length=8, unique=True)
    #: SHA-256 of the secret, in hexadecimal.
    digest = models.CharField(max_length=64)
    #: Codenames of permissions, and ``read``.
    scopes = JsonTextField(default=list)
    #: Whose things it is for; NULL: those of all tenants, or of its user's.
    tenant = models.CharField(max_length=63, null=True)
    #: Primary key of the user in whose name it acts; empty: in its own.
    user = models.CharField(max_length=150, default="")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=150, default="")
    expires_at = models.DateTimeField(null=True)
    #: Written at most once a minute.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "taskyard"
        default_permissions = ("view", "add", "delete")
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    def is_good(self, now: dt.datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
