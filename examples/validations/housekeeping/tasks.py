"""The nine. Each does a bounded part of its work at a time, may run again at any moment, and returns its counts.

``schedules`` says when they run, and each is a management command as well.
"""

import datetime as dt
from itertools import chain

from django.contrib.sessions.models import Session
from django.utils import timezone
from validations import containers
from validations.models import SILENCE, IdempotencyKey, Output, Receipt, Run, RunState, Submission

from housekeeping import mails
from housekeeping.batches import Counts, HowMuch, delete, do_each, pages, parts
from housekeeping.purging import purge
from taskyard import task

#: A callback that comes again later than this is not taken for the same one.
RECEIPTS_KEPT = dt.timedelta(days=30)


@task
def purge_expired_submissions(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """Files of customers that we kept for as long as we promised."""
    how = HowMuch(batch_size, everything, dry_run)
    return do_each(pages(Submission.objects.expired(timezone.now()), how), purge, how)


@task
def purge_expired_outputs(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """The same for what validations wrote."""
    how = HowMuch(batch_size, everything, dry_run)
    return do_each(pages(Output.objects.expired(timezone.now()), how), purge, how)


@task
def retry_failed_purges(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """Files that could not be removed, when their time has come again."""
    how, now = HowMuch(batch_size, everything, dry_run), timezone.now()
    due = chain.from_iterable(pages(model.objects.to_retry(now), how) for model in (Submission, Output))
    return do_each(due, purge, how)


@task
def mark_hung_runs_failed(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """Runs that were not heard of for too long; one that speaks up at the last moment goes on."""
    how, now = HowMuch(batch_size, everything, dry_run), timezone.now()
    hung = Run.objects.filter(state=RunState.RUNNING, heard_at__lte=now - SILENCE)

    def fail(run: Run) -> bool:
        reason = f"nothing was heard of it since {run.heard_at:%Y-%m-%d %H:%M}"
        return bool(hung.filter(pk=run.pk).update(state=RunState.FAILED, ended_at=now, reason=reason))

    return do_each(pages(hung, how), fail, how)


@task
def remove_orphaned_containers(batch_size: int = 20, everything: bool = False, dry_run: bool = False) -> Counts:
    """Containers whose run has ended, or is not there."""
    how = HowMuch(batch_size, everything, dry_run)
    # In this order: a run is there before its container.
    found = containers.runs()
    running = set(Run.objects.filter(pk__in=found, state=RunState.RUNNING).values_list("pk", flat=True))
    orphans = [run for run in found if run not in running]
    return do_each(parts(orphans, how), containers.remove, how)


@task
def clean_idempotency_keys(batch_size: int = 1_000, everything: bool = False, dry_run: bool = False) -> Counts:
    return delete(
        IdempotencyKey.objects.filter(expires_at__lte=timezone.now()), HowMuch(batch_size, everything, dry_run)
    )


@task
def clean_receipts(batch_size: int = 1_000, everything: bool = False, dry_run: bool = False) -> Counts:
    old = Receipt.objects.filter(received_at__lte=timezone.now() - RECEIPTS_KEPT)
    return delete(old, HowMuch(batch_size, everything, dry_run))


@task
def clean_sessions(batch_size: int = 1_000, everything: bool = False, dry_run: bool = False) -> Counts:
    """What Django's ``clearsessions`` does in one statement, in batches."""
    return delete(Session.objects.filter(expire_date__lte=timezone.now()), HowMuch(batch_size, everything, dry_run))


@task
def send_periodic_emails(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """What packages have registered; a handler that fails stops no other."""
    how = HowMuch(batch_size, everything, dry_run)
    return do_each(parts(mails.handlers(), how), mails.send_mails_of, how)
