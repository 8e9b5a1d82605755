"""Jobs: find, look at, enqueue, steer."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from taskyard.api.cursors import PAGING, decode, limit_of, next_of
from taskyard.api.documents import ENQUEUED, JOB, JOBS, OUTCOME, STATES, enqueued, job_document, page, summary
from taskyard.api.routes import Answer, Asked, route
from taskyard.api.shapes import Anything, ListOf, Moment, Number, OneOf, Text, Whole, Wrong, body
from taskyard.errors import InvalidTask, NotJson
from taskyard.jobs.ids import job_id
from taskyard.jobs.queries import JobFilter
from taskyard.operations import jobs
from taskyard.operations.jobs import MOST_NAMED, Outcome

#: What is written of a reason.
REASON = Text(500, says="Written into the audit.")
TENANT = Text(63, says="Of this tenant alone; nobody but operators of all tenants sees others than their own.")
#: What chooses jobs, in an address and in a selection.
FILTER = {
    "state": ListOf(OneOf(STATES), most=len(STATES), says="May be repeated."),
    "task": Text(255, says="A name, or a prefix followed by *."),
    "queue": Text(255),
    "tenant": TENANT,
    "since": Moment(says="Created since; where only final states are asked for: ended since."),
}
_ARGUMENTS = {
    "args": Anything(list, says="Arguments by position; what the job has, unless it is given."),
    "kwargs": Anything(dict, says="Arguments by name; what the job has, unless it is given."),
}


def filter_of(said: Mapping[str, Any]) -> JobFilter:
    """What :data:`FILTER` was given."""
    return JobFilter(
        states=tuple(dict.fromkeys(said.get("state", ()))), task=said.get("task", ""), queue=said.get("queue", ""),
        tenant=said.get("tenant"), since=said.get("since"),
    )  # fmt: skip


@route("GET", "jobs", "view_job", query={**FILTER, **PAGING}, answer=JOBS)
def list_jobs(asked: Asked) -> Mapping[str, Any]:
    """Jobs, newest first; across tenants, of those that have ended alone, what ended last first.

    Every page looks at 20,000 rows at most: where few of them are meant, it holds fewer than `limit`, and `next` goes
    on from there.
    """
    after = decode(asked.query, dt.datetime, uuid.UUID)
    found = jobs.page(asked.actor, filter_of(asked.query), after=after, limit=limit_of(asked.query))
    return page([summary(job) for job in found.rows], next_of(found))


@route(
    "POST", "jobs", "enqueue_job", statuses=(201, 200), answer=ENQUEUED,
    body=body(
        task=Text(255), args=Anything(list), kwargs=Anything(dict), queue=Text(255, 1), priority=Whole(-100, 100),
        run_after=Moment(), delay_seconds=Number(0, 366 * 86_400, from_least=True), tenant=TENANT,
        unique_key=Text(1_000, 1), tags=ListOf(Text(100, 1), most=20),
        optional="args kwargs queue priority run_after delay_seconds tenant unique_key tags",
    ),
)  # fmt: skip
def enqueue_job(asked: Asked) -> Answer:
    """Enqueue a job of a declared task. 200 with `created` false: its unique key is held by that job."""
    said = dict(asked.body)
    if "run_after" in said and "delay_seconds" in said:
        raise Wrong("delay_seconds", "say either this or run_after.")
    delay = said.pop("delay_seconds", None)
    options = {
        "queue_name": said.get("queue"), "priority": said.get("priority"), "tenant": said.get("tenant"),
        "run_after": said.get("run_after") if delay is None else dt.timedelta(seconds=delay),
        "unique_key": said.get("unique_key"), "tags": said.get("tags", ()), "args": said.get("args", ()),
    }  # fmt: skip
    with refusing_arguments():
        job = jobs.enqueue(asked.actor, said["task"], kwargs=said.get("kwargs"), **options)
    return Answer(enqueued(job), 201 if job.created else 200)


@route("GET", "jobs/<str:id>", "view_job", answer=JOB)
def show_job(asked: Asked) -> Mapping[str, Any]:
    """Everything about one job, and why it waits. Payload only with `view_payload`.

    `problem`: of one that failed with an error that its task declares, what that error is to a client.
    """
    detail = jobs.show(asked.actor, job_id(asked.path["id"]))
    return job_document(detail, is_blind=not asked.actor.sees_payload)


@contextmanager
def refusing_arguments() -> Iterator[None]:
    """Arguments that a task does not take are the caller's mistake here."""
    try:
        yield
    except InvalidTask as error:
        raise Wrong("task", str(error)) from error
    except NotJson as error:
        raise Wrong("kwargs", str(error)) from error
    except TypeError as error:
        raise Wrong("kwargs", f"the task does not take them: {error}.") from error


# -- one of them, or several by id -------------------------------------------------------------------------------------


def _outcome(outcome: Outcome) -> Mapping[str, Any]:
    return {"found": outcome.found, "changed": outcome.changed}


_STEER: Mapping[str, Callable[..., Outcome]] = {"retry": jobs.retry, "cancel": jobs.cancel, "discard": jobs.discard}


def _steer(asked: Asked, verb: str, ids: Sequence[uuid.UUID]) -> Mapping[str, Any]:
    return _outcome(_STEER[verb](asked.actor, ids, reason=asked.body.get("reason", "")))


def _one(asked: Asked) -> list[uuid.UUID]:
    return [job_id(asked.path["id"])]


def _named(asked: Asked) -> list[uuid.UUID]:
    return [job_id(text) for text in asked.body["ids"]]


_BODY = body(reason=REASON, optional="*")
_IDS = body(ids=ListOf(Text(255, 1), 1, MOST_NAMED), reason=REASON, optional="reason")


@route("POST", "jobs/<str:id>/retry", "retry_job", body=_BODY, answer=OUTCOME)
def retry_job(asked: Asked) -> Mapping[str, Any]:
    """Bring a failed or cancelled job back, with one more attempt."""
    return _steer(asked, "retry", _one(asked))


@route("POST", "jobs/<str:id>/cancel", "cancel_job", body=_BODY, answer=OUTCOME)
def cancel_job(asked: Asked) -> Mapping[str, Any]:
    """Cancel a job that has not ended; one that runs is asked to stop."""
    return _steer(asked, "cancel", _one(asked))


@route("POST", "jobs/<str:id>/discard", "discard_job", body=_BODY, answer=OUTCOME)
def discard_job(asked: Asked) -> Mapping[str, Any]:
    """Set a failed job aside as cancelled."""
    return _steer(asked, "discard", _one(asked))


@route("POST", "jobs/<str:id>/edit", "edit_job", "view_payload", answer=OUTCOME,
       body=body(**_ARGUMENTS, reason=REASON, optional="*"))  # fmt: skip
def edit_job(asked: Asked) -> Mapping[str, Any]:
    """Change the arguments of a job that failed or was cancelled, and retry it; both or neither."""
    with refusing_arguments():
        return _outcome(jobs.edit(asked.actor, *_one(asked), **asked.body))


@route("POST", "jobs/<str:id>/copy", "enqueue_job", answer=ENQUEUED, status=201,
       body=body(**_ARGUMENTS, reason=REASON, optional="*"))  # fmt: skip
def copy_job(asked: Asked) -> Mapping[str, Any]:
    """Enqueue a new job like one that ended. Other arguments take `edit_job` and `view_payload` as well."""
    with refusing_arguments():
        return enqueued(jobs.copy(asked.actor, *_one(asked), **asked.body))


@route("POST", "jobs/retry", "retry_job", body=_IDS, answer=OUTCOME)
def retry_jobs(asked: Asked) -> Mapping[str, Any]:
    """Bring failed or cancelled jobs back, each with one more attempt."""
    return _steer(asked, "retry", _named(asked))


@route("POST", "jobs/cancel", "cancel_job", body=_IDS, answer=OUTCOME)
def cancel_jobs(asked: Asked) -> Mapping[str, Any]:
    """Cancel jobs that have not ended; running ones are asked to stop."""
    return _steer(asked, "cancel", _named(asked))


@route("POST", "jobs/discard", "discard_job", body=_IDS, answer=OUTCOME)
def discard_jobs(asked: Asked) -> Mapping[str, Any]:
    """Set failed jobs aside as cancelled."""
    return _steer(asked, "discard", _named(asked))
