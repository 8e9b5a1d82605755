"""The Celery app: a plain one, with its messages going through the table."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import importlib
import importlib.util
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import celery
from celery import _state
from celery.app.routes import MapRoute
from celery.utils.time import maybe_iso8601, maybe_make_aware
from django.conf import settings as django_settings
from django.utils import timezone
from django.views.debug import SafeExceptionReporterFilter
from kombu.entity import Exchange, Queue
from kombu.utils.objects import cached_property
from kombu.utils.url import maybe_sanitize_url

from taskyard.celery import broker, control, registry
from taskyard.celery.messages import CALL
from taskyard.celery.results.foreign import subscribe_late
from taskyard.celery.wire import window
from taskyard.errors import ConfigurationError
from taskyard.settings import get_settings

if TYPE_CHECKING:
    from taskyard.celery.seam import Seam

#: What Taskyard's promises need, all of it overridable by the project's own ``CELERY_*`` settings.
DEFAULTS: Mapping[str, Any] = {
    "broker_url": broker.URL,
    "result_backend": "taskyard.celery.results.backend:JobBackend",
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "task_acks_late": True,
    "worker_prefetch_multiplier": 1,
    "worker_consumer": "taskyard.celery.worker.consumer:Consumer",
    "broker_connection_retry_on_startup": True,
    # A broker that refuses a command (Redis without memory, say) is one to come back to, not one to die of.
    "broker_channel_error_retry": True,
    # A connection to RabbitMQ that is half open is noticed after two of these seconds' intervals, not of Celery's 120.
    "broker_heartbeat": 10,
    # Celery's day is meant for a result server; here a result goes with its row unless the project says otherwise.
    "result_expires": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_enable_prefetch_count_reduction": False,
}

#: A connection to Redis that is half open must be noticed: the driver waits for ever by default.
_REDIS_OPTIONS: Mapping[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "visibility_timeout": 3600,
}


class Celery(celery.Celery):
    """``celery.Celery`` whose tasks are jobs: written in the caller's transaction, published by the feeder.

    Tasks, ``delay``, ``apply_async``, links, chains, groups, chords, routes and signals work unchanged.
    """

    registry_cls = "taskyard.celery.registry:Registry"
    control_cls = "taskyard.celery.control:Control"
    task_cls = "taskyard.celery.registry:JobTask"
    #: What the configuration said of ``task_always_eager`` before it was kept from Celery.
    is_configured_eager = False
    builtin_fixups: ClassVar[set[str]] = {"taskyard.celery.attempt.connections:fixup"}

    #: Celery's table of routes, and what it said of the tasks asked about so far.
    _routed: tuple[Any, dict[tuple[str, str | None], str]] = (None, {})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        broker.register()
        super().__init__(*args, **kwargs)
        # Beside the project's own autodiscover_tasks(): what `schedules sync` finds, workers must know.
        self.autodiscover_tasks(related_name="schedules")
        self.autodiscover_tasks(related_name="orchestrators")
        registry.adopt_declared_tasks(self)
        registry.add_own_tasks(self)
        control.install()
        # By name: a project's celery.py is imported before its models may be.
        self.steps["worker"].add("taskyard.celery.worker.step:JobStep")
        self.steps["worker"].add("taskyard.celery.worker.watchdog:WatchdogStep")
        self.steps["consumer"].add("taskyard.celery.worker.prefetch:Prefetch")

    @cached_property
    def seam(self) -> Seam:
        """Where this app's messages become rows."""
        from taskyard.celery.seam import Seam

        return Seam(self)

    def _load_config(self) -> Any:
        conf = super()._load_config()
        # Below the project's own settings and above Celery's: add_defaults() would put them above both.
        conf.maps.insert(len(conf.maps) - 1, dict(DEFAULTS))
        if get_settings().signing_keys:
            # Whoever signs does not trust the broker, and remote control is not signed.
            conf.maps.insert(len(conf.maps) - 1, {"worker_enable_remote_control": False})
        # Celery's eager path never reaches the seam: no row, no JSON round trip, no retries. Ours does all that.
        # A CELERY_TASK_ALWAYS_EAGER of Django's settings is read when it matters: a test may set it for itself alone.
        is_djangos = getattr(django_settings, "CELERY_TASK_ALWAYS_EAGER", False)
        self.is_configured_eager = bool(conf.get("task_always_eager")) and not is_djangos
        conf.task_always_eager = False
        conf.__dict__["table"] = functools.partial(_shown, conf.table)
        if not conf.task_queues:
            settings = get_settings()
            own = {settings.crontab_queue: settings.crontab_queue} if settings.crontabs else {}
            conf.task_queues = declared_queues(settings.queues or own, conf.task_default_queue)
        return conf

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """A producer that writes rows instead of publishing; never opens a connection by itself."""
        return self.seam.producer(producer)

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Enqueue a task by name; the times it is due and expires go to the row, not to the broker.

        Celery would reroute ``eta`` and ``countdown`` on quorum queues and turn ``expires`` into a broker TTL, which
        drops messages without a word.
        """
        call = {
            "eta": _moment(options.pop("eta", None), self.timezone) or _after(options.pop("countdown", None)),
            "expires": _expiry(options.pop("expires", None), self.timezone),
            "has_reprs": "argsrepr" in options or "kwargsrepr" in options,
            "queue": options.get("queue") if isinstance(options.get("queue"), str) else None,
        }
        options.pop("countdown", None)
        options["headers"] = {**(options.get("headers") or {}), CALL: call}
        producer = self.seam.producer(options.pop("producer", None), options.pop("connection", None))
        with producer:
            result = super().send_task(name, args, kwargs, producer=producer, **options)
        result.id = producer.existing.get(result.id, result.id)
        return result

    def route_of(self, name: str) -> str:
        """The logical queue of a task by the project's routes, else the default queue."""
        task = self._tasks.get(name)
        declared = getattr(task, "queue", None) if task else None
        table, known = self._routed
        if table is not self.amqp.routes:
            table, known = self._routed = self.amqp.routes, {}
        is_named = declared is None or isinstance(declared, str)
        found = known.get((name, declared)) if is_named else None
        if found is None:
            options = self.amqp.router.route({"queue": declared} if task else {}, name)
            queue = options.get("queue") or self.amqp.default_queue
            found = str(queue.alias or queue.name)
            if is_named and all(isinstance(route, MapRoute) for route in table):
                # A router that is a function may say something else each time.
                known[name, declared] = found
        return found

    def default_queue_name(self) -> str:
        """The logical queue of tasks that nothing routes."""
        return str(self.conf.task_default_queue)

    def _get_backend(self) -> Any:
        backend = super()._get_backend()
        if type(backend).__module__ not in ("taskyard.celery.results.backend", "celery.backends.rpc"):
            subscribe_late(backend)
        return backend

    def _connection(self, url: Any, **kwargs: Any) -> Any:
        options = dict(kwargs.get("transport_options") or {})
        is_redis = str(url or "").startswith(("redis", "rediss", "valkey"))
        if is_redis:
            kwargs["transport_options"] = {**_REDIS_OPTIONS, **self.conf.broker_transport_options, **options}
        connection = super()._connection(url or broker.URL, **kwargs)
        if is_redis:
            window.carry(connection.transport)
        return connection


def _shown(table: Any, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
    """Options as ``inspect conf`` and ``celery report`` show them: Celery's own, without passwords.

    Celery would show all of Django's settings there, with whatever stands in DATABASES, CELERY_BROKER_URL and TASKYARD.
    """
    options: dict[str, Any] = table(with_defaults, censored)
    return {name: _masked(value) for name, value in options.items() if name.islower()} if censored else options


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        hidden = SafeExceptionReporterFilter.hidden_settings
        return {k: "********" if hidden.search(str(k)) else _masked(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(one) for one in value]
    return maybe_sanitize_url(value) if isinstance(value, str) and "://" in value else value


def declared_queues(names: Mapping[str, str], default: str) -> list[Queue] | None:
    """Celery's queues for ``TASKYARD["QUEUES"]``, known by their logical names; None leaves it to Celery.

    Celery's default queue is always among them, for tasks that nothing routes.
    """
    if not names:
        return None
    named = {**names, default: names.get(default, default)}
    return [Queue(real, Exchange(real), routing_key=real, alias=name) for name, real in named.items()]


def _after(countdown: float | None) -> str | None:
    return (timezone.now() + dt.timedelta(seconds=countdown)).isoformat() if countdown else None


def _moment(value: Any, zone: dt.tzinfo) -> str | None:
    if value is None:
        return None
    # A naive time is read in the app's time zone (CELERY_TIMEZONE), as Celery does.
    return str(maybe_make_aware(maybe_iso8601(value), zone).isoformat())


def _expiry(value: Any, zone: dt.tzinfo) -> str | None:
    return _after(value) if isinstance(value, (int, float)) and value else _moment(value or None, zone)


@lru_cache(maxsize=1)
def ready_made_app() -> Celery:
    """An app for projects without a ``celery.py``: settings ``CELERY_*``, tasks of every installed app."""
    if not django_settings.configured and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        raise ConfigurationError(
            ["DJANGO_SETTINGS_MODULE is not set: name your settings, as in DJANGO_SETTINGS_MODULE=mysite.settings"]
        )
    is_first = _state.default_app is None
    made = Celery("taskyard", set_as_current=is_first)
    if is_first:
        made.set_default()
    made.config_from_object("django.conf:settings", namespace="CELERY")
    made.autodiscover_tasks()
    return made


def serve_shared_tasks() -> None:
    """Be the app that ``@shared_task`` finds, in a project that has none of its own.

    Without one Celery makes a plain app in silence, which publishes to a RabbitMQ on localhost and writes no row.
    """
    # A setting that cannot work is reported by whoever uses it, not by every manage.py command.
    with contextlib.suppress(ConfigurationError):
        if _state.default_app is None and not (get_settings().celery_app or _project_app()):
            ready_made_app()


def is_without_app() -> bool:
    """Whether Celery made itself a plain app in silence, because one was asked for before there was any."""
    found = _state.default_app
    return isinstance(found, celery.Celery) and not isinstance(found, Celery) and found.main == "default"


def get_app() -> Celery:
    """The project's app: ``TASKYARD["CELERY_APP"]``, else ``<project>.celery:app``, else the ready-made one."""
    named = get_settings().celery_app or _project_app()
    if named:
        module, _, attribute = named.partition(":")
        found = getattr(importlib.import_module(module), attribute or "app")
        if isinstance(found, Celery):
            return found
    return ready_made_app()


@lru_cache(maxsize=1)
def _project_app() -> str:
    project = os.environ.get("DJANGO_SETTINGS_MODULE", "").rpartition(".")[0].partition(".")[0]
    if not project or project == "taskyard":
        return ""
    with contextlib.suppress(ImportError, ValueError):
        if importlib.util.find_spec(f"{project}.celery") is not None:
            return f"{project}.celery:app"
    return ""
