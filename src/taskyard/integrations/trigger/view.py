"""The view: reads a bounded request, asks who calls, and answers with the decision about the due time."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from taskyard.errors import TaskyardError
from taskyard.integrations.trigger.caller import Call, Caller, Refused, refuse_untimely
from taskyard.integrations.trigger.delivery import deliver
from taskyard.integrations.trigger.signed_header import SIGNATURE
from taskyard.schedules.models import Occurrence
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: Largest body that is read.
MOST_BYTES = 4_096
#: Where Google says which due time it calls for.
_GOOGLE = "X-CloudScheduler-ScheduleTime"
_RETRY_SECONDS = "30"


class Malformed(Exception):
    """A request that says nothing usable, whoever sent it."""


@csrf_exempt
@login_not_required
@require_POST
def trigger_view(request: HttpRequest, schedule: str) -> HttpResponse:
    """Decide about a due time of a schedule of the code; the answers are listed in docs/trigger.md.

    Calls for the same due time, one after another or at once, get the same decision, and one of them enqueues. Whoever
    may not call learns nothing, not even whether there is such a schedule; the log has the reason, and no token.
    """
    now = timezone.now()
    try:
        call = _call(request, schedule)
        caller = _caller(call, now)
        decided = deliver(call, caller, now)
    except Malformed as error:
        logger.warning("A call for schedule %.200r was not understood: %s.", schedule, error)
        return JsonResponse({"error": "malformed"}, status=400)
    except Refused as error:
        logger.warning("A call for schedule %.200r was refused: %s.", schedule, error)
        return JsonResponse({"error": "refused"}, status=403)
    except (TaskyardError, OperationalError):
        # Code is being rolled out, or a lock was not to be had: what is worth another try.
        logger.exception("Schedule %.200r was called for and could not be decided about.", schedule)
        return JsonResponse({"error": "try again"}, status=503, headers={"Retry-After": _RETRY_SECONDS})
    return JsonResponse(_answer(schedule, decided))


def _caller(call: Call, now: dt.datetime) -> Caller:
    settings = get_settings().trigger
    if settings is None:
        raise Refused("TASKYARD['TRIGGER'] is not set")
    refuse_untimely(call, now, skew=settings.skew, lateness=settings.lateness)
    if call.signature:
        from taskyard.integrations.trigger import signed_header

        return signed_header.verify(call, settings, now)
    if not settings.issuer:
        raise Refused("there is no signature, and tokens are not accepted: ISSUER is not set")
    # Only here, because they need the extra.
    from taskyard.integrations.trigger import token
    from taskyard.integrations.trigger.key_set import key_set

    return token.verify(call, settings, find=key_set())


def _call(request: HttpRequest, schedule: str) -> Call:
    said = {_GOOGLE: request.headers.get(_GOOGLE), "due_at": _body(request).get("due_at")}
    given = {name: value for name, value in said.items() if value is not None}
    if not given:
        raise Malformed(f"no due time, neither in the header {_GOOGLE} nor as due_at in the body")
    times = {name: _time(name, value) for name, value in given.items()}
    if len(set(times.values())) > 1:
        raise Malformed(f"the header {_GOOGLE} and due_at in the body say different times")
    name = next(iter(given))
    return Call(
        schedule, given[name], times[name], request.headers.get("Authorization", ""),
        request.headers.get(SIGNATURE, ""),
    )  # fmt: skip


def _body(request: HttpRequest) -> Mapping[str, Any]:
    text = request.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise Malformed(f"the body has more than {MOST_BYTES:,} bytes")
    try:
        body = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        # Of no interest if a header says when; else that is what is missed.
        return {}
    return body if isinstance(body, Mapping) else {}


def _time(name: str, value: Any) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(value)
        if time.utcoffset() is not None:
            return time.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise Malformed(f"{name} is no time with a zone, such as 2026-05-04T12:00:00Z: {value!r:.60}")


def _answer(schedule: str, decided: Occurrence | None) -> dict[str, Any]:
    if decided is None:
        return {"schedule": schedule, "decision": None, "reason": "it is disabled, or over, or decided later"}
    return {
        "schedule": schedule, "due_at": decided.due_at.isoformat(), "decision": decided.decision,
        "reason": decided.reason, "job": str(decided.job) if decided.job else None, "jobs": decided.jobs,
    }  # fmt: skip
