"""``{% load taskyard %}``."""

from __future__ import annotations

import uuid
from typing import Any

from django import template
from django.template.context import RequestContext
from django.urls import NoReverseMatch, reverse

from taskyard.batches.models import Batch
from taskyard.integrations.progress.access import Subject, sign
from taskyard.integrations.progress.watcher import look
from taskyard.jobs.ids import job_id
from taskyard.jobs.models import Job
from taskyard.jobs.progress.words import says

register = template.Library()


@register.inclusion_tag("taskyard/progress.html", takes_context=True)
def taskyard_progress(context: RequestContext, job: Any, *, family: bool = False, label: str = "") -> dict[str, Any]:
    """How far a job or a batch is: a bar, a sentence, a link that looks again; with JavaScript it moves by itself.

    ``job`` is a :class:`~taskyard.models.Job`, its id, Celery's result of it, or a :class:`~taskyard.models.Batch`.
    ``family=True`` shows all jobs of its
    canvas, or of the job that enqueued it, as one. Whoever sees the page may follow the job for a day: the tag signs
    that. Live needs ``taskyard.urls`` in the project's URLs; without it there is the link alone.
    """
    subject = subject_of(job, family=family)
    progress = look([subject]).get(subject) if subject is not None else None
    request = context.get("request")
    # The first of a page brings script and style along.
    is_first = not context.render_context.get("taskyard_progress")
    if context.render_context is not None:
        context.render_context["taskyard_progress"] = True
    return {
        "progress": progress, "label": label or "Progress", "says": says(progress) if progress else "",
        "reference": sign(subject) if subject is not None and progress is not None else "",
        "again": request.get_full_path() if request is not None else "", **_addresses(), "is_first": is_first,
        "nonce": context.get("csp_nonce") or getattr(request, "csp_nonce", ""),
    }  # fmt: skip


def subject_of(job: Any, *, family: bool) -> Subject | None:
    """What the tag was given, as something to look at; None where it was given nothing."""
    if isinstance(job, Batch):
        return Subject(job.id, batch=True)
    if isinstance(job, Job):
        return Subject(job.root or job.id if family else job.id, family)
    if not job:
        return None
    if not isinstance(job, (str, uuid.UUID)):
        # Celery's result: of a chain it is its last step's, of a chord its body's, neither of which is a job yet.
        while family and getattr(job, "parent", None) is not None:
            job = job.parent
        job = job.id
    return Subject(job_id(str(job)), family)


def _addresses() -> dict[str, str]:
    try:
        return {"look_at": reverse("taskyard:progress"), "events_at": reverse("taskyard:progress-events")}
    except NoReverseMatch:
        return {}
