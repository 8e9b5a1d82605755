"""Writing down what was done."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

from django.db import transaction
from django.utils import timezone

from taskyard.jobs.redaction import redact_text
from taskyard.operations.acting.actor import Actor
from taskyard.operations.models import AuditEntry
from taskyard.settings import get_settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was done to what; see :class:`~taskyard.operations.models.AuditEntry`. No arguments, results or errors.

    What people say in ``reason`` is written without what looks like a secret.
    """

    target: str
    tenant: str = ""
    count: int | None = 1
    before: Any = None
    after: Any = None
    said: Any = None
    reason: str = ""
    job: uuid.UUID | None = None


def write_down(actor: Actor, kind: str, verb: str, deed: Deed) -> AuditEntry:
    """Write one entry in the caller's transaction."""
    entry = AuditEntry(
        at=timezone.now(), who=actor.name[:150], user=actor.user[:150], kind=kind, verb=verb, via=actor.via[:32],
        address=actor.address[:64], tenant=deed.tenant, target=deed.target[:300], count=deed.count, before=deed.before,
        after=deed.after, said=deed.said, reason=redact_text(deed.reason)[:500], job=deed.job,
    )  # fmt: skip
    entry.save(using=get_settings().database, force_insert=True)
    return entry


def together() -> Any:
    """A transaction on the control database: what is done, and the entry that says so."""
    return transaction.atomic(using=get_settings().database)
