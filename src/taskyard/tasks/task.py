"""Declaring a task: ``@task`` and what it returns."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import inspect
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from django.apps import apps

from taskyard.errors import InvalidTask
from taskyard.tasks import registry
from taskyard.tasks.answers import Answers, check_answers
from taskyard.tasks.doors import door
from taskyard.tasks.retry import NO_RETRY, RetryPolicy
from taskyard.tasks.unique import Unique
from taskyard.tenancy.directory import name_of

P = ParamSpec("P")
R = TypeVar("R")

PRIORITY_RANGE = (-100, 100)
TENANT_SCOPES = ("any", "tenant", "public")
_NAME = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*")


@dataclasses.dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a declaration says; all of it can be read, nothing of it changes after the declaration."""

    queue: str | None = None
    priority: int = 0
    retry: RetryPolicy = NO_RETRY
    soft_time_limit: dt.timedelta | None = None
    time_limit: dt.timedelta | None = None
    unique: Unique | None = None
    unique_until: str = "end"
    on_duplicate: str = "return"
    bind: bool = False
    tracked: bool = True
    pack: bool = False
    errors: Answers = dataclasses.field(default_factory=dict)
    tenant_scope: str = "any"
    tenant_from: str | Callable[[Mapping[str, Any]], Any] | None = None
    tenant_databases: tuple[str, ...] | None = None
    tenant_cache: dt.timedelta | None = None
    sensitive: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class CallOptions:
    """What one call says on top of the declaration (``task.using(...)``)."""

    queue_name: str | None = None
    priority: int | None = None
    run_after: dt.datetime | dt.timedelta | None = None
    tenant: str | None = None
    subject: Any = None
    database: str | None = None
    created_by: Any = None
    tags: tuple[str, ...] = ()
    unique_key: str | None = None
    batch: uuid.UUID | None = None


class Task(Generic[P, R]):
    """A declared task. Calling it runs its body here and now, without a job."""

    def __init__(
        self, func: Callable[P, R], name: str, options: TaskOptions, *, call: CallOptions | None = None
    ) -> None:
        self.func = func
        self.name = name
        self.options = options
        self.call = call or CallOptions()
        functools.update_wrapper(self, func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.func(self, *args, **kwargs) if self.options.bind else self.func(*args, **kwargs)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature a caller sees (without the bound first argument)."""
        signature = inspect.signature(self.func)
        if self.options.bind:
            return signature.replace(parameters=list(signature.parameters.values())[1:])
        return signature

    @functools.cached_property
    def _plain_names(self) -> tuple[frozenset[str], frozenset[str]]:
        """All parameters and those without a default; empty where a call by keywords is not a matter of names alone."""
        parameters = self.signature.parameters.values()
        if any(one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in parameters):
            return frozenset(), frozenset()
        required = frozenset(one.name for one in parameters if one.default is one.empty)
        return frozenset(one.name for one in parameters), required

    def accepts(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether a call by keywords surely fits; the signature decides where this cannot tell."""
        known, required = self._plain_names
        return bool(known) and required <= kwargs.keys() <= known

    @property
    def job(self) -> Any:
        """The running job, for tasks declared with ``bind=True``."""
        return door("current_job")()

    def using(
        self,
        *,
        queue_name: str | None = None,
        priority: int | None = None,
        run_after: dt.datetime | dt.timedelta | None = None,
        tenant: Any = None,
        subject: Any = None,
        database: str | None = None,
        created_by: Any = None,
        tags: Iterable[str] = (),
        unique_key: str | None = None,
    ) -> Task[P, R]:
        """The same task with options for one call.

        ``run_after`` is an aware datetime, or a timedelta from now. ``priority`` runs from -100 to 100, higher is
        sooner. ``database`` names the alias whose transaction the job belongs to: that of the jobs, a tenant's own, or
        one of ``TASKYARD["OUTBOX_DATABASES"]``; the default is the current tenant's database where tenants have their
        own. ``subject`` is a saved model instance the job is about. ``tenant`` is a name, or with django-tenants the
        tenant object; the empty name is nobody. The default is the current tenant. ``unique_key`` is a text: at most
        one unfinished job of this tenant, task and key, whatever the declaration says.
        """
        _check_priority(self.name, priority)
        given = CallOptions(
            queue_name, priority, run_after, tenant, subject, database, created_by, tuple(tags), unique_key
        )
        merged = {
            field.name: getattr(given, field.name) or getattr(self.call, field.name)
            for field in dataclasses.fields(CallOptions)
        }
        if priority is not None:
            merged["priority"] = priority
        if tenant is not None:
            merged["tenant"] = name_of(tenant)
        return Task(self.func, self.name, self.options, call=CallOptions(**merged))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Write a job for this call in the caller's transaction and return it.

        The job exists exactly if that transaction commits; it then runs at least once. Never talks to the broker.

        In a transaction of another database than the jobs' (see ``using(database=...)``) it is an outbox message until
        after the commit: its row cannot be read before, and its unique key is taken then. ``job.created`` is True in
        any case; if the key turns out to be held, the job with this id becomes ``cancelled`` (reason ``duplicate``).
        Raises ``TypeError`` for arguments the task does not take, :class:`~taskyard.errors.NotJson`,
        :class:`~taskyard.errors.PayloadTooLarge`, :class:`~taskyard.errors.UnknownQueue`, and
        :class:`~taskyard.errors.DuplicateJob` for ``on_duplicate="raise"``, and
        :class:`~taskyard.errors.InvalidTask` for a task declared ``tracked=False``, which has no jobs.
        """
        return door("enqueue")(self, args, kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """:meth:`enqueue` for async code; the insert runs in Django's thread for synchronous code."""
        return await door("aenqueue")(self, args, kwargs)

    def enqueue_many(self, calls: Iterable[Mapping[str, Any]], *, spread: dt.timedelta | None = None) -> Any:
        """:func:`taskyard.enqueue_many` for this task."""
        return door("enqueue_many")(self, calls, spread=spread)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Celery's word for :meth:`enqueue`; returns an ``AsyncResult`` whose id is the job's."""
        return door("celery_task")(self.name).apply_async(args, kwargs)

    def apply_async(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Celery's call with all its options."""
        return door("celery_task")(self.name).apply_async(tuple(args), dict(kwargs or {}), **options)

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """A Celery signature, for chains, groups and chords."""
        return door("celery_task")(self.name).s(*args, **kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """An immutable Celery signature."""
        return door("celery_task")(self.name).si(*args, **kwargs)


@overload
def task(func: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = ...,
    queue: str | None = ...,
    priority: int = ...,
    retry: RetryPolicy | None = ...,
    soft_time_limit: dt.timedelta | None = ...,
    time_limit: dt.timedelta | None = ...,
    unique: Unique | None = ...,
    unique_until: str = ...,
    on_duplicate: str = ...,
    bind: bool = ...,
    tracked: bool = ...,
    pack: bool = ...,
    errors: Answers = ...,
    sensitive: tuple[str, ...] = ...,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(func: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Declare a task.

    Args:
        name: ``<app_label>.<action>``; the default is the app's label and the function's name.
        queue: logical queue name; default: by Celery's ``task_routes``, else its default queue.
        priority: -100 to 100, higher is sooner.
        retry: a :class:`RetryPolicy`; default: no retry.
        soft_time_limit, time_limit: timedeltas; the package sets none by itself.
        unique: at most one unfinished job per (tenant, task, key); see :data:`taskyard.tasks.unique.Unique`.
        unique_until: how long the key is held: ``"end"`` (default) or ``"start"`` of the first attempt.
        on_duplicate: ``"return"`` the existing job (default) or ``"raise"``.
        bind: pass the task itself as first argument (``self.job`` is the running job).
        pack: for bodies of a few milliseconds: many jobs travel in one message and run one after another in one
            process. Each is claimed, settled, retried and timed on its own; ends are written together, so that up to a
            quarter of a second of finished work runs again after a crash. No time limits; a retry travels alone.
        errors: ``{InsufficientFunds: 402}``: what a client is told, where one of these ends a request that ran the body
            (``docs/tasks.md``). A class, with its subclasses, has one status in all tasks.
        tenant_scope: ``"any"`` (default) runs as the tenant that enqueued it, or outside of all tenants if nobody was
            current then; ``"tenant"`` needs a tenant; ``"public"`` always runs outside of all tenants.
        tenant_from: the argument that says for which tenant a call is (or a callable of the arguments); a call whose
            argument differs from the current tenant is refused.
        tenant_databases: aliases to switch for this task, with schemas (``TENANT_DATABASES``).
        tenant_cache: how old what is known of the tenant may be, for this task (``TENANT_CACHE``).
        sensitive: names of arguments, and of keys within them, whose values are secrets beside those of
            ``TASKYARD["SENSITIVE"]``: taken out wherever the job is shown, and of its stored errors.
        tracked: False sends a plain Celery message without a row: none of the promises hold for it.

    Raises :class:`~taskyard.errors.InvalidTask` for a declaration that cannot work.
    """

    def declare(function: Callable[P, R]) -> Task[P, R]:
        full_name = name or default_name(function)
        known = {field.name for field in dataclasses.fields(TaskOptions)}
        unknown = set(options) - known
        if unknown:
            raise InvalidTask(full_name, f"unknown option {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
        if options.get("retry") is None:
            options.pop("retry", None)
        declared: Task[P, R] = Task(function, full_name, TaskOptions(**options))
        if not _NAME.fullmatch(full_name):
            raise InvalidTask(
                full_name, "the name must have the form <app_label>.<action>, for example 'shop.send_mail'"
            )
        check_options(declared)
        registry.register(declared)
        return declared

    return declare if func is None else declare(func)


def default_name(function: Callable[..., Any]) -> str:
    """``<app_label>.<function>``: the label of the app the module belongs to, else the name of its package."""
    module = function.__module__
    config = apps.get_containing_app_config(module) if apps.apps_ready else None
    if config is not None:
        return f"{config.label}.{function.__name__}"
    parts = [part for part in module.split(".") if part not in ("tasks", "__main__")]
    return f"{parts[-1] if parts else 'main'}.{function.__name__}"


def check_options(declared: Task[Any, Any]) -> None:
    """Raise :class:`~taskyard.errors.InvalidTask` for options that cannot work."""
    options = declared.options
    _check_priority(declared.name, options.priority)
    if options.unique_until not in ("start", "end"):
        raise InvalidTask(declared.name, f"unique_until must be 'start' or 'end', not {options.unique_until!r}")
    if options.on_duplicate not in ("return", "raise"):
        raise InvalidTask(declared.name, f"on_duplicate must be 'return' or 'raise', not {options.on_duplicate!r}")
    if options.pack and (options.time_limit or options.soft_time_limit or not options.tracked):
        raise InvalidTask(declared.name, "pack=True is for tracked tasks without time limits: jobs share a message")
    _check_tenant_options(declared)
    check_answers(declared.name, options.errors)
    if not isinstance(options.sensitive, tuple) or not all(isinstance(name, str) for name in options.sensitive):
        raise InvalidTask(declared.name, f"sensitive must be a tuple of names, not {options.sensitive!r}")
    for field in ("soft_time_limit", "time_limit"):
        limit = getattr(options, field)
        if limit is not None and not isinstance(limit, dt.timedelta):
            raise InvalidTask(declared.name, f"{field} must be a timedelta, not {limit!r}")
    # As they were given: a caller need not heed the types.
    retry: object = options.retry
    unique: object = options.unique
    if not isinstance(retry, RetryPolicy):
        raise InvalidTask(declared.name, f"retry must be a RetryPolicy, not {retry!r}")
    if not (unique is None or isinstance(unique, (str, tuple, bool)) or callable(unique)):
        forms = "a parameter's name, a tuple of names, True or a callable"
        raise InvalidTask(declared.name, f"unique must be {forms}, not {unique!r}")
    if isinstance(options.unique, (str, tuple)):
        names = (options.unique,) if isinstance(options.unique, str) else options.unique
        missing = [name for name in names if name not in declared.signature.parameters]
        if missing:
            raise InvalidTask(declared.name, f"unique names {missing[0]!r}, which is not a parameter of the function")


def _check_tenant_options(declared: Task[Any, Any]) -> None:
    options = declared.options
    if options.tenant_scope not in TENANT_SCOPES:
        raise InvalidTask(
            declared.name, f"tenant_scope must be one of {', '.join(TENANT_SCOPES)}, not {options.tenant_scope!r}"
        )
    source = options.tenant_from
    if isinstance(source, str) and source not in declared.signature.parameters:
        raise InvalidTask(declared.name, f"tenant_from names {source!r}, which is not a parameter of the function")


def _check_priority(name: str, priority: int | None) -> None:
    low, high = PRIORITY_RANGE
    if priority is not None and not low <= priority <= high:
        raise InvalidTask(name, f"priority must be between {low} and {high}, not {priority}")
