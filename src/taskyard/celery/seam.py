"""Where a Celery message becomes a row: a producer that writes instead of publishing.

Celery's AMQP layer hands the finished message and its routing to ``producer.publish``. Intercepting there, after every
option, route and signal was applied, keeps the whole canvas intact and needs no private name of Celery's. The producer
also collects the members of a group, so that they become one INSERT.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import dataclasses
import datetime as dt
import functools
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections
from django.utils import timezone
from kombu.common import Broadcast
from kombu.exceptions import EncodeError
from kombu.serialization import dumps as kombu_dumps
from kombu.utils.json import dumps

from taskyard import enqueue
from taskyard.celery import signing
from taskyard.celery.attempt.attempt import current_attempt, heir
from taskyard.celery.messages import ALL_TENANTS, CALL, SCHEMA, TENANT, schema_header, tenant_of_schema
from taskyard.enqueue.owner import owner_of, tenant_of_caller
from taskyard.errors import NotJson, PayloadTooLarge, TaskyardError
from taskyard.jobs.ids import job_id, original_id
from taskyard.jobs.models import Job
from taskyard.jobs.rows.newjob import NewJob, refuse_odd_names
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.payload import encode_arguments
from taskyard.tasks.task import Task
from taskyard.tasks.unique import unique_key, unique_lock
from taskyard.tenancy.context import find_tenancy

if TYPE_CHECKING:
    from taskyard.celery.application import Celery

#: Headers that the row's own columns hold, or that are the same for every message.
_OWN_COLUMNS = frozenset(
    {
        TENANT,
        SCHEMA,
        ALL_TENANTS,
        "lang",
        "task",
        "id",
        "eta",
        "expires",
        "root_id",
        "parent_id",
        "timelimit",
        "origin",
        "argsrepr",
        "kwargsrepr",
    }
)
_NOT_JSON = (EncodeError, TypeError, ValueError, RecursionError)
_INSERT_THREAD = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="taskyard-insert")


@dataclasses.dataclass(slots=True)
class Sent:
    """One intercepted message: the row it becomes, and whether it takes a waiting row over (``replace``)."""

    job: NewJob
    takes_over: bool


class _NoConnection:
    # What Celery asks of a connection to decide which publish errors to retry: an INSERT has none of them.
    connection_errors = channel_errors = recoverable_connection_errors = recoverable_channel_errors = ()

    @contextlib.contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        yield


class RowProducer:
    """Quacks like ``kombu.Producer`` for Celery's task sender; writes rows when its outermost block ends."""

    connection = _NoConnection()

    def __init__(self, seam: Seam, real: Any = None, connection: Any = None) -> None:
        self.seam, self.real, self.real_connection = seam, real, connection
        self._sent: list[Sent] = []
        self._depth = 0
        self._borrowed: Any = None
        #: Ids that were not written because an unfinished job holds their unique key -> that job's id.
        self.existing: dict[str, str] = {}

    def __enter__(self) -> RowProducer:
        self._depth += 1
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            sent, self._sent = self._sent, []
            borrowed, self._borrowed = self._borrowed, None
            if borrowed is not None:
                borrowed.release()
            if kind is None and sent:
                self.existing.update(self.seam.take_in(sent))

    @property
    def channel(self) -> Any:
        """A real channel, for the ``rpc://`` result backend, which declares its reply queue when a task is sent."""
        if self._borrowed is None:
            self._borrowed = self.seam.real_producer()
        return self._borrowed.channel

    def publish(self, body: Any, **options: Any) -> None:
        """Take a task message in; anything else, and tasks that are not tracked, goes to the broker."""
        headers = options.get("headers") or {}
        call = headers.pop(CALL, None) or {}
        if "task" not in headers:
            # A ``task-sent`` event: an enqueue never talks to the broker.
            return
        if self.seam.is_tracked(headers["task"], options.get("declare")):
            self._sent.append(self.seam.read(body, headers, call, options))
            return
        attempt = current_attempt()
        if attempt is not None and attempt.is_replacing:
            raise TaskyardError(
                f"Task {attempt.claim.task!r} cannot be replaced by {headers['task']!r}, which is not tracked: nothing "
                "would ever end its job. Declare that task without tracked=False."
            )
        self.seam.refuse_tenants(headers)
        headers.pop(ALL_TENANTS, None)
        headers |= {"eta": call.get("eta"), "expires": call.get("expires")}
        # What the caller wrote wins, as with tenant-schemas-celery.
        headers |= {name: value for name, value in schema_header(tenant_of_sender()).items() if name not in headers}
        if get_settings().signing_keys:
            kind, encoding, body = kombu_dumps(body, serializer=options.pop("serializer", None))
            options |= {"content_type": kind, "content_encoding": encoding}
            signing.sign(body, headers, properties=options, content=(kind, encoding))
        self._publish_really(body, options)

    def _publish_really(self, body: Any, options: dict[str, Any]) -> None:
        if self.real is not None:
            self.real.publish(body, **options)
            return
        if self.real_connection is not None:
            self.seam.app.amqp.Producer(self.real_connection, auto_declare=False).publish(body, **options)
            return
        with self.seam.app.producer_pool.acquire(block=True) as producer:
            producer.publish(body, **options)


class Seam:
    """Turns messages of one app into rows."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def producer(self, given: Any = None, connection: Any = None) -> RowProducer:
        """The producer to send with; an enclosing one is used again, so that a group is written at once."""
        return given if isinstance(given, RowProducer) else RowProducer(self, given, connection)

    def real_producer(self) -> Any:
        """A producer of the pool, for what must reach the broker."""
        return self.app.producer_pool.acquire(block=True)

    def is_tracked(self, name: str, declare: Any) -> bool:
        """Whether messages of this task are rows."""
        if any(isinstance(entity, Broadcast) for entity in declare or ()):
            # One claim, many consumers: a row cannot say who of them has run it.
            return False
        return bool(getattr(self.app._tasks.get(name), "tracked", True))

    def refuse_tenants(self, headers: Mapping[str, Any]) -> None:
        """Raise for a message without a row that a tenant sends: nobody would enter that tenant before it runs.

        With ``SCHEMA_HEADER`` it says whose it is to those who read that.
        """
        tenant = str(headers.get(TENANT) or (tenant_of_sender() if find_tenancy() else ""))
        scope = option(self.app._tasks.get(headers["task"]), "tenant_scope", "any")
        if tenant and scope != "public" and find_tenancy() and not get_settings().schema_header:
            raise TaskyardError(
                f"Task {headers['task']!r} is not tracked: it would run outside of tenant {tenant!r}. Declare it "
                "without tracked=False, or with tenant_scope='public'."
            )

    def read(self, body: Any, headers: dict[str, Any], call: Mapping[str, Any], options: Mapping[str, Any]) -> Sent:
        """The row of a finished message."""
        args, kwargs, embed = body
        now = timezone.now()
        declared = registry.find(headers["task"])
        schema, kwargs = _schema(headers, kwargs)
        args_text, kwargs_text = _payload(headers["task"], args, kwargs, declared)
        hard, soft = headers.get("timelimit") or (None, None)
        parent, root = _family(headers)
        eta = dt.datetime.fromisoformat(call["eta"]) if call.get("eta") else now
        job = NewJob(
            id=job_id(headers["id"]), task_id=original_id(headers["id"]), task=headers["task"],
            queue=self._queue(call, options, headers["task"]), created_at=now, available_at=max(eta, now),
            args=args_text, kwargs=kwargs_text,
            message=_stored(headers, embed, call, options.get("reply_to") if self._replies_by_queue else None),
            priority=_priority(options.get("priority"), declared), max_attempts=self._max_attempts(headers["task"]),
            expires_at=dt.datetime.fromisoformat(call["expires"]) if call.get("expires") else None,
            time_limit=hard, soft_time_limit=soft, parent=parent, root=root,
            tenant=_tenant(headers.get(TENANT, schema), declared, args=args, kwargs=kwargs),
            trace=str(headers.get("traceparent") or "")[:64],
        )  # fmt: skip
        if declared is not None:
            _add_unique(job, declared, args, kwargs)
        refuse_odd_names(job)
        return Sent(job, takes_over=bool(headers.get("replaced_task_nesting")))

    @functools.cached_property
    def _replies_by_queue(self) -> bool:
        return str(self.app.conf.result_backend or "").startswith("rpc")

    def _queue(self, call: Mapping[str, Any], options: Mapping[str, Any], task: str) -> str:
        declared = [entity for entity in options.get("declare") or () if hasattr(entity, "routing_key")]
        if declared:
            return enqueue.resolve_queue(declared[0].alias or declared[0].name, task)
        # A route to a bare exchange: the routing key is the best name there is.
        return enqueue.resolve_queue(call.get("queue") or options.get("routing_key") or "", task)

    def _max_attempts(self, name: str) -> int:
        declared = registry.find(name)
        if declared is not None:
            return declared.options.retry.max_retries + 1
        retries = getattr(self.app._tasks.get(name), "max_retries", 3)
        return (3 if retries is None else int(retries)) + 1

    def take_in(self, sent: list[Sent]) -> Mapping[str, str]:
        """Write the rows; what the running attempt sends about itself, or after its body, waits for its settle.

        The answer maps ids that were not written, because an unfinished job holds their unique key, to that job's.
        """
        attempt = current_attempt()
        if attempt is not None:
            sent = attempt.hold_back(sent)
        if not sent:
            return {}
        if _in_event_loop():
            # An async view: Django refuses its connection to the loop's thread.
            # With its context, which knows the tenant.
            context = contextvars.copy_context()
            return _INSERT_THREAD.submit(context.run, _write_in_thread, sent).result()
        return write(sent)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _write_in_thread(sent: list[Sent]) -> Mapping[str, str]:
    close_old_connections()
    return write(sent)


def write(sent: list[Sent]) -> Mapping[str, str]:
    """Write intercepted messages in the current transaction; see :meth:`Seam.take_in` for the answer."""
    control = enqueue.control_alias()
    plain = [one.job for one in sent if not (one.takes_over and take_over(one.job, control))]
    if not plain:
        return {}
    # What a job's end sends is part of the transaction that ends it.
    alias = enqueue.alias_of_call() if heir() is None else control
    if alias != control:
        return _put(plain, alias, control=control)
    written = enqueue.write(plain, control)
    return {
        job.task_id or str(job.id): enqueue.existing_job(job, control).celery_id
        for job in plain
        if job.unique_lock and job.id not in written
    }


def _put(jobs: list[NewJob], alias: str, *, control: str) -> Mapping[str, str]:
    if not enqueue.put(jobs, alias):
        return {}
    became = {job.id: enqueue.what_became_of(job, control) for job in jobs if job.unique_lock}
    return {job.task_id or str(job.id): became[job.id].celery_id for job in jobs if job.id in became}


def take_over(new: NewJob, alias: str) -> bool:
    """Let a task take the row of the job it replaces over; False if no such row waits."""
    fields = ("task", "queue", "priority", "available_at", "expires_at", "soft_time_limit", "time_limit")
    moved = Job.objects.using(alias).filter(id=new.id, state="waiting").update(
        state="pending", due=new.available_at <= new.created_at, publishes=0, crashes=0,
        args=json.loads(new.args), kwargs=json.loads(new.kwargs),
        message=json.loads(new.message) if new.message else None,
        **{name: getattr(new, name) for name in fields},
    )  # fmt: skip
    if moved:
        enqueue.set_off([new.id], alias)
    return bool(moved)


def _payload(task: str, args: Any, kwargs: Any, declared: Task[Any, Any] | None) -> tuple[str, str]:
    limit = get_settings().max_payload_bytes
    if declared is not None:
        return encode_arguments(task, list(args), dict(kwargs), limit)
    texts = _kombu_json(task, args, "the positional arguments"), _kombu_json(task, kwargs, "the keyword arguments")
    size = len(texts[0]) + len(texts[1])
    if size > limit:
        raise PayloadTooLarge(task, size, limit)
    return texts


def _kombu_json(task: str, value: Any, where: str) -> str:
    try:
        return dumps(value)
    except _NOT_JSON as error:
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value, 1):
            try:
                dumps(item)
            except _NOT_JSON as exact:
                raise NotJson(task, f"argument {name!r}", str(exact)) from error
        raise NotJson(task, where, str(error)) from error


def _stored(
    headers: Mapping[str, Any], embed: Mapping[str, Any], call: Mapping[str, Any], reply_to: str | None
) -> str | None:
    drop = _OWN_COLUMNS - {"argsrepr", "kwargsrepr"} if call.get("has_reprs") else _OWN_COLUMNS
    kept = {k: v for k, v in headers.items() if k not in drop and v not in (None, 0, False, [], {})}
    if call.get("eta"):
        # Only for the task's eyes: the row says when it is due.
        kept["eta"] = call["eta"]
    followers = {k: v for k, v in embed.items() if v}
    message = {"headers": kept, "embed": followers, "reply_to": reply_to}
    message = {k: v for k, v in message.items() if v}
    return dumps(message) if message else None


def _priority(given: Any, declared: Task[Any, Any] | None) -> int:
    if given is None:
        return declared.options.priority if declared is not None else 0
    return max(-100, min(100, int(given)))


def _add_unique(job: NewJob, declared: Task[Any, Any], args: Any, kwargs: Any) -> None:
    if declared.options.unique:
        bound = declared.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        job.unique_key = unique_key(declared.name, declared.options.unique, bound.arguments)
        job.unique_lock = unique_lock(declared.name, job.tenant, job.unique_key)


def _schema(headers: Mapping[str, Any], kwargs: Any) -> tuple[str | None, Any]:
    """The tenant as tenant-schemas-celery says it, and the arguments without it: the task does not know of it."""
    said = headers.get(SCHEMA)
    if isinstance(kwargs, Mapping) and SCHEMA in kwargs:
        said = kwargs[SCHEMA] if said is None else said
        kwargs = {name: value for name, value in kwargs.items() if name != SCHEMA}
    return None if said is None else tenant_of_schema(str(said)), kwargs


def option(task: Any, name: str, default: Any) -> Any:
    """An option of a declared task, or an attribute of a Celery task."""
    declared = getattr(task, "declared", None)
    return getattr(task, name, default) if declared is None else getattr(declared.options, name)


def tenant_of_sender() -> str:
    """Whose is what is sent here: of the job it follows from, else of the current tenant."""
    return tenant_of_caller() if (tenant := heir()) is None else tenant


def _tenant(asked: str | None, declared: Task[Any, Any] | None, *, args: Any, kwargs: Any) -> str:
    """As the caller's header says; else the current one, or, for what follows from a job, that job's."""
    asked = heir() if asked is None else asked
    if declared is None:
        return tenant_of_caller() if asked is None else str(asked)
    return owner_of(declared, asked, arguments=lambda: declared.signature.bind(*args, **kwargs).arguments)


def _family(headers: Mapping[str, Any]) -> tuple[uuid.UUID | None, uuid.UUID]:
    """Parent and root: as Celery says, else of the attempt whose end sends it (a chord's body).

    Members of a group that nobody's task sent have the group's id as their root, so that they can be found together.
    """
    attempt = current_attempt()
    if headers.get("parent_id"):
        return job_id(headers["parent_id"]), job_id(headers.get("root_id") or headers["parent_id"])
    if attempt is not None:
        return attempt.claim.id, attempt.claim.root
    is_own_root = headers.get("root_id") in (None, headers["id"])
    return None, job_id(
        headers["group"] if is_own_root and headers.get("group") else headers.get("root_id", headers["id"])
    )
