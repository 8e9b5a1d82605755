"""A job stands failed, or does so no more: written in the transaction that moves it."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Collection

from django.db.models import Exists, OuterRef

from taskyard.failures.fingerprint import Fault
from taskyard.failures.models import Failure, FailureGroup
from taskyard.failures.states import Said, State, is_reopened
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: A group's row is written by failures at most this often: it is no counter.
SEEN_EVERY = dt.timedelta(days=1)


def failed(fault: Fault, *, job_id: uuid.UUID, tenant: str, now: dt.datetime, alias: str) -> None:
    """Record that a job stands failed, in the caller's transaction; the texts of ``fault`` are redacted already.

    One query and one insert where the group is known. Jobs that fail together wait for each other only when their
    group is new or opened again.
    """
    _see(fault, now, alias)
    row = Failure(job_id=job_id, group_id=fault.fingerprint, tenant=tenant, failed_at=now)
    Failure.objects.using(alias).bulk_create([row], ignore_conflicts=True)


def no_longer(job_ids: Collection[uuid.UUID], alias: str) -> None:
    """Forget the failures of jobs that are brought back, set aside or deleted, in the transaction that does it."""
    if job_ids:
        Failure.objects.using(alias).filter(job_id__in=list(job_ids))._raw_delete(alias)


def forget_groups(until: dt.datetime, *, limit: int) -> int:
    """Delete groups of which nothing stands failed and nothing failed since; how many, at most ``limit``."""
    rows = FailureGroup.objects.using(get_settings().database)
    # One that fails just now was marked as seen before: see _see().
    old = rows.filter(seen_at__lt=until - 2 * SEEN_EVERY)
    standing = Failure.objects.using(rows.db).filter(group_id=OuterRef("pk"))
    ids = list(old.exclude(Exists(standing)).order_by("seen_at").values_list("pk", flat=True)[:limit])
    return int(old.filter(pk__in=ids)._raw_delete(rows.db)) if ids else 0


def _see(fault: Fault, now: dt.datetime, alias: str) -> None:
    row = FailureGroup.objects.using(alias).filter(pk=fault.fingerprint)
    known = row.values_list("seen_at", *Said._fields).first()
    if known is None:
        _create(fault, now, alias)
        return
    seen_at, said = known[0], Said(*known[1:])
    # Also what keeps the pruner off it: what was not seen for longer may be deleted under our hands.
    if seen_at < now - SEEN_EVERY and not row.update(seen_at=now):
        _create(fault, now, alias)
    elif is_reopened(said, now=now, release=get_settings().release):
        _reopen(fault, said, now, alias)


def _create(fault: Fault, now: dt.datetime, alias: str) -> None:
    group = FailureGroup(
        fingerprint=fault.fingerprint, task=fault.task, error_type=fault.error_type[:255], reason=fault.reason[:100],
        message=fault.pattern, frames=list(fault.frames), first_seen_at=now, seen_at=now,
        first_release=get_settings().release,
    )  # fmt: skip
    FailureGroup.objects.using(alias).bulk_create([group], ignore_conflicts=True)


def _reopen(fault: Fault, said: Said, now: dt.datetime, alias: str) -> None:
    # Only if nobody said something else meanwhile; the first of many that fail together does it.
    row = FailureGroup.objects.using(alias).filter(pk=fault.fingerprint, **said._asdict())
    if row.update(state=State.OPEN, reopened_at=now, snoozed_until=None, snoozed_release=""):
        logger.warning("Failures %s of %s are back: they had been %s.", fault.fingerprint, fault.task, said.state)
