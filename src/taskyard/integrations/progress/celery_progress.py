"""What pages written for the package celery-progress ask for, in its shape: ``include()`` this in place of its URLs.

``path("celery-progress/", include("taskyard.integrations.progress.celery_progress"))``: names, paths and JSON are those
of celery-progress 0.5 (https://github.com/czue/celery-progress), so its script goes on. What differs: who may not see
the job gets 404, and a job that is to be tried again is not complete, so the bar goes on.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import re_path
from django.views.decorators.http import require_GET

from taskyard.integrations.progress.access import is_owner, may_see, may_see_result
from taskyard.jobs.ids import job_id
from taskyard.jobs.models import Job
from taskyard.jobs.progress.reading import JobProgress, progress_of
from taskyard.jobs.queries import reason_of
from taskyard.jobs.redaction import redact

_STATES = {
    "pending": "PENDING", "queued": "PENDING", "running": "STARTED", "waiting": "STARTED", "retrying": "PENDING",
    "succeeded": "SUCCESS", "failed": "FAILURE", "cancelled": "REVOKED",
}  # fmt: skip


@login_not_required
@require_GET
def get_progress(request: HttpRequest, task_id: str) -> HttpResponse:
    """Of one job. What it returned, or failed with, only for its creator and who has ``taskyard.view_payload``.

    To its creator as it is, like the page that awaits it; to others without secrets.
    """
    job = Job.objects.visible_to(None).filter(id=job_id(task_id)).first()
    progress = progress_of([job.id]).get(job.id) if job is not None and may_see(request, job) else None
    if job is None or progress is None:
        return JsonResponse({"error": "There is no such job, or you may not see it."}, status=404)
    result = _result(job) if progress.is_final and may_see_result(request, job) else None
    result = result if is_owner(request, job) else redact(result)
    return JsonResponse(shape(progress, result), headers={"Cache-Control": "no-store"})


def shape(progress: JobProgress, result: Any) -> dict[str, Any]:
    """The JSON of celery-progress."""
    state = _STATES[progress.state]
    if progress.is_final:
        is_success = progress.state == "succeeded"
        ended = {"pending": False, "current": 100, "total": 100, "percent": 100}
        return {"state": state, "complete": True, "success": is_success, "progress": ended, "result": result}
    if progress.current is None or not progress.total:
        said: dict[str, Any] = {"pending": state == "PENDING", "current": 0, "total": 100, "percent": 0}
    else:
        state = "PROGRESS"
        said = {"pending": False, "current": _whole(progress.current), "total": _whole(progress.total)}
        said |= {"percent": progress.percent or 0, "description": progress.message}
    return {"state": state, "complete": False, "success": None, "progress": said}


def _result(job: Job) -> Any:
    return job.result if job.state == "succeeded" else reason_of(job.error)


def _whole(value: float) -> float:
    return int(value) if value.is_integer() else value


app_name = "celery_progress"
urlpatterns = [re_path(r"^(?P<task_id>[\w-]+)/$", get_progress, name="task_status")]
