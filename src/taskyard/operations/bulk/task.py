"""The job that carries out what somebody asked for over many jobs."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from taskyard.errors import Discard, JobCancelled, NotAllowed
from taskyard.jobs.current import current_job
from taskyard.jobs.queries import JobFilter
from taskyard.operations import tokens
from taskyard.operations.acting.actor import Actor
from taskyard.operations.bulk.run import Run, place_from_json, place_to_json
from taskyard.operations.models import AuditEntry
from taskyard.tasks.task import task

NAME = "taskyard.operate"


@task(name=NAME, priority=100)
def operate(entry: int) -> dict[str, Any]:
    """Do what an audit entry says; returns how many jobs were looked at and changed.

    The job names the entry and nothing else, and the entry names the job: whoever can write jobs, or change their
    arguments, can have nothing done that nobody was allowed to ask for.
    """
    job = current_job()
    row = AuditEntry.objects.filter(pk=entry, job=job.id).first()
    if row is None or not isinstance(row.said, dict) or "act" not in row.said:
        raise Discard("no audit entry names this job")
    run = Run.of(row)
    if run.is_closed:
        raise Discard("it has ended: ask for it anew")
    if job.checkpoint:
        run.place, run.seen = place_from_json(job.checkpoint["place"]), job.checkpoint["seen"]

    def check() -> None:
        job.raise_if_cancelled()
        _refuse_who_may_no_more(row, run.selection.wanted)

    try:
        _refuse_who_may_no_more(row, run.selection.wanted)
        total = run.seen + run.selection.rows.count()
        for _ in run.steps(check):
            job.checkpoint = {"place": place_to_json(run.place), "seen": run.seen} if run.place else None
            job.progress(run.seen, max(total, run.seen), f"{run.changed:,} changed")
    except (JobCancelled, Discard):
        run.close("aborted")
        raise
    run.close("done")
    return {"looked_at": run.seen, "changed": run.changed}


def _refuse_who_may_no_more(row: AuditEntry, wanted: JobFilter) -> None:
    token = (row.said or {}).get("token")
    if token and tokens.is_revoked(token):
        raise Discard("it was asked for with a key to the HTTP API that was revoked; the audit names it")
    if not row.user:
        return
    users = get_user_model()._default_manager
    user = users.filter(pk=row.user).first()
    # By the name as well: within a tenant's schema another user may have that key.
    is_known = user is not None and user.get_username() == row.who
    actor = Actor.of_user(user) if is_known else Actor(name=row.who)
    try:
        actor.require(row.said["permission"])
        if not actor.is_for_all and actor.tenant != wanted.tenant:
            raise NotAllowed(actor.name, row.said["permission"], "its tenant is another one by now")
    except NotAllowed as error:
        raise Discard(str(error)) from error
