"""The views: how far jobs are, asked once (JSON) or followed (server-sent events)."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET

from taskyard.integrations.progress.access import Reference, Subject, read, viewer_of, visible
from taskyard.integrations.progress.shape import as_json
from taskyard.integrations.progress.stream import AsyncStream, SyncStream, stamp_of
from taskyard.integrations.progress.watcher import TooManyStreams, look
from taskyard.jobs.progress.reading import JobProgress
from taskyard.settings import get_settings

#: Jobs that one request may ask for.
MOST_JOBS = 50
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_RETRY_SECONDS = "60"


@login_not_required
@require_GET
def progress_view(request: HttpRequest) -> HttpResponse:
    """How far the jobs of ``?job=…&job=…`` are: ids, or references that the template tag signed.

    A job that does not exist, and one that the request may not see, are both named in ``missing``; if that is all of
    them, the answer is 404.
    """
    asked = request.GET.getlist("job")
    if not 0 < len(asked) <= MOST_JOBS:
        return _sentence(f"Ask for 1 to {MOST_JOBS} jobs: ?job=…&job=…", 400)
    references, found = _found(request, asked)
    jobs = [as_json(one.text, found[one.subject]) for one in references]
    told = {one["job"] for one in jobs}
    missing = [text for text in asked if text not in told]
    return JsonResponse({"jobs": jobs, "missing": missing}, status=200 if jobs else 404, headers=_HEADERS)


@login_not_required
@require_GET
def events_view(request: HttpRequest) -> HttpResponseBase:
    """The same as a stream: an event at once, one for each change, ``end`` when all jobs have ended.

    It ends after half a minute under WSGI and after five minutes under ASGI; a browser's ``EventSource`` opens the
    next one by itself and is told only what changed meanwhile (``Last-Event-ID``). Where there is no room for another
    stream, of this viewer or of this process, it answers 429, and the polling view is there for everybody.
    """
    asked = request.GET.getlist("job")
    if not 0 < len(asked) <= MOST_JOBS:
        return _sentence(f"Ask for 1 to {MOST_JOBS} jobs: ?job=…&job=…", 400)
    references, found = _found(request, asked)
    if not references:
        return _sentence("There is no such job, or you may not see it.", 404)
    try:
        return respond(request, references, found=found, viewer=viewer_of(request, references))
    except TooManyStreams as error:
        # Not 503: Django would mail that to the site's administrators, and nothing is wrong.
        return _sentence(str(error), 429, {"Retry-After": _RETRY_SECONDS})


def respond(
    request: HttpRequest, references: list[Reference], *, found: Mapping[Subject, JobProgress], viewer: str
) -> HttpResponseBase:
    """A stream about jobs that whoever asks may see, or 204 where the reader knows that all of them have ended.

    Raises :class:`TooManyStreams`; ``viewer`` is whose streams are counted together.
    """
    last_id = request.headers.get("Last-Event-ID", "")
    are_final = all(progress.is_final for progress in found.values())
    if are_final and last_id == stamp_of({subject: one.stamp for subject, one in found.items()}):
        # What ends an EventSource for good.
        return HttpResponse(status=204, headers=_HEADERS)
    settings = get_settings()
    stream: AsyncStream | SyncStream
    if isinstance(request, ASGIRequest):
        stream = AsyncStream(
            references, found, viewer=viewer, last_id=last_id, kind="asgi", most=settings.progress_streams
        )
    elif request.META.get("wsgi.multithread", True):
        stream = SyncStream(
            references, found, viewer=viewer, last_id=last_id, kind="wsgi", most=settings.progress_streams_wsgi
        )
    else:
        # It would be the only thing this process does.
        raise TooManyStreams("A process with a single thread serves no event streams.")
    # X-Accel-Buffering: nginx collects otherwise. Content-Encoding: or Django's GZipMiddleware does.
    return StreamingHttpResponse(
        stream, content_type="text/event-stream",
        headers={**_HEADERS, "X-Accel-Buffering": "no", "Content-Encoding": "identity"},
    )  # fmt: skip


def _found(request: HttpRequest, asked: list[str]) -> tuple[list[Reference], dict[Subject, JobProgress]]:
    references = visible(request, [one for one in map(read, dict.fromkeys(asked)) if one is not None])
    found = look({one.subject for one in references})
    return [one for one in references if one.subject in found], found


def _sentence(text: str, status: int, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(text + "\n", status=status, content_type="text/plain", headers={**_HEADERS, **(headers or {})})
