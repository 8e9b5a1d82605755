"""The one typed, frozen settings object, read from ``settings.TASKYARD`` on first use."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, get_type_hints

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from taskyard.errors import ConfigurationError
from taskyard.signing_key import SigningKey as SigningKey
from taskyard.trigger_settings import TriggerSettings, read_trigger

_DAY = dt.timedelta(days=1)

#: How long final jobs are kept; ``None`` keeps them for ever.
DEFAULT_RETENTION: Mapping[str, dt.timedelta | None] = {
    "succeeded": 7 * _DAY,
    "cancelled": 30 * _DAY,
    "failed": 90 * _DAY,
}


#: The kinds of ``TASKYARD["TENANCY"]``.
TENANCIES = ("schemas", "databases", "rows")

#: What clouds, clusters and file names all take.
OWNER = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

#: Shorter keys can be found by trying.
SIGNING_KEY_BYTES = 32


@dataclasses.dataclass(frozen=True, slots=True)
class UserSchedules:
    """What the users of a tenant may define by ``Schedule.objects.for_tenant(...)``."""

    #: Names of the tasks they may schedule.
    tasks: tuple[str, ...]
    #: Least time between two due times of one schedule.
    shortest_interval: dt.timedelta = dt.timedelta(hours=1)
    #: Most schedules of one tenant's users, disabled ones included.
    most_per_tenant: int = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """``TASKYARD = {...}``: every key is optional and written in upper case."""

    #: Alias of the control database, where jobs live.
    database: str = "default"
    #: Queues in order of urgency: a list of names, or logical name -> broker queue name. Empty: any name is accepted.
    queues: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Queues consumed by programs that are not ours: published in full, final once the broker confirms.
    handover: tuple[str, ...] = ()
    #: Dotted path of the project's Celery app; empty: ``<project>.celery:app`` if it exists, else the ready-made app.
    celery_app: str = ""
    #: Largest stored payload (arguments), in bytes.
    max_payload_bytes: int = 128 * 1024
    #: Largest stored result, in bytes; a larger one fails the job.
    max_result_bytes: int = 1024 * 1024
    #: How long final jobs are kept, per state; ``None``: for ever.
    retention: Mapping[str, dt.timedelta | None] = dataclasses.field(default_factory=lambda: DEFAULT_RETENTION)
    #: How long decisions of schedules are kept.
    occurrence_retention: dt.timedelta = dt.timedelta(days=90)
    #: Who has created the jobs of schedules, as a user's key; empty: whoever created the schedule.
    schedule_user: str = ""
    #: Options of the targets that ``schedules sync --backend`` knows, by the target's name; see docs/targets.md.
    schedule_targets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    #: Marks what this project put into a target, so that others' is left alone; of its own for each project and each
    #: environment that share a target. Empty: the first part of ROOT_URLCONF, where nobody shares.
    schedule_owner: str = ""
    #: What users of a tenant may schedule: ``{"tasks": [...], "shortest_interval": timedelta, "most_per_tenant": n}``.
    #: None: nothing.
    user_schedules: UserSchedules | None = None
    #: On SIGTERM, how long running jobs may finish before they are given back.
    shutdown_grace: dt.timedelta = dt.timedelta(seconds=25)
    #: Close database connections after each job, as Celery does; the default keeps healthy ones.
    close_connections: bool = False
    #: Prepare the statements of each job once per connection (PostgreSQL); not behind a pooler in transaction mode.
    #: PgBouncer is recognised by itself: False is for a pooler that is not.
    prepared_statements: bool = True
    #: A returned ``{"success": False}`` marks the job failed.
    fail_on_success_false: bool = True
    #: A worker writes its heartbeat this often.
    heartbeat: dt.timedelta = dt.timedelta(seconds=5)
    #: A worker is lost when a rescuer, connected throughout, saw no heartbeat for this long.
    worker_timeout: dt.timedelta = dt.timedelta(seconds=20)
    #: A job is quarantined after this many lost children in a row.
    poison_after: int = 3
    #: How long publishing one batch may take before it counts as failed.
    publish_timeout: dt.timedelta = dt.timedelta(seconds=5)
    #: Most messages of one queue in the broker.
    window_max: int = 1000
    #: Messages of one queue in the broker while no worker for it is registered.
    window_unattended: int = 10
    #: A queued job whose message did not arrive is published again after this long, then backing off.
    republish_after: dt.timedelta = dt.timedelta(seconds=10)
    #: Jobs running longer than this are acknowledged early: the row carries them, not the broker.
    acknowledge_after: dt.timedelta = dt.timedelta(seconds=60)
    #: A worker with idle slots that received nothing for this long, though its jobs stand queued, connects anew.
    reconnect_after: dt.timedelta = dt.timedelta(seconds=20)
    #: Progress of one job is written at most this often.
    progress_interval: dt.timedelta = dt.timedelta(milliseconds=500)
    #: Who may see how far a job is: a callable ``(request, job) -> bool``, or its dotted path. None: its creator, and
    #: staff with ``taskyard.view_job``. Links that the template tag signs work in any case.
    progress_access: Callable[..., Any] | None = None
    #: Most event streams of progress that one process serves at a time in an event loop (ASGI); more get polling.
    progress_streams: int = 200
    #: The same where each holds a thread (WSGI); a process with a single thread serves none.
    progress_streams_wsgi: int = 2
    #: A batch, and a row that follows one, is stale after this long without news of a member.
    batch_stale_after: dt.timedelta = dt.timedelta(minutes=30)
    #: HTTP status of ``guard(...).response()`` where one is already running.
    duplicate_status: int = 409
    #: Longest pause between two looks for due work where notifications arrive; elsewhere it is a fifth of a second.
    poll_interval: dt.timedelta = dt.timedelta(seconds=2)
    #: Run the agents (feeder, rescuer, pruner, scheduler) in every worker; False: only in ``taskyard scheduler``.
    agents: bool = True
    #: Run task messages that no row stands behind, from programs without Taskyard.
    adopt_foreign: bool = False
    #: Write the tenant into messages as tenant-schemas-celery does (``_schema_name``), for workers that still use that.
    #: What its producers write is read in any case.
    schema_header: bool = False
    #: Keys that sign messages (32 bytes or more each), or a callable that returns them: the first signs, all verify.
    signing_keys: tuple[SigningKey, ...] = ()
    #: This site, where several with settings of their own share a control database: a sync of schedules touches rows of
    #: its own site alone. Empty: there is one.
    site: str = ""
    #: How the project separates its tenants: ``"schemas"`` (django-tenants), ``"databases"``, ``"rows"``; empty: not.
    tenancy: str = ""
    #: Names the project's tenants: ``tenants()`` returns the ready ones, ``tenants(name)`` one of them, or None.
    #: A callable or its dotted path; see docs/tenants.md for what each kind expects.
    tenants: Callable[..., Any] | None = None
    #: Whose jobs a user of Django sees and steers: a callable that takes the user and returns the name of a tenant, or
    #: None for all of them, or its dotted path. Unset: superusers all, others what belongs to no tenant.
    tenant_of_user: Callable[..., Any] | None = None
    #: With schemas: the aliases whose schema is switched.
    tenant_databases: tuple[str, ...] = ("default",)
    #: With databases: labels of the apps whose models live in each tenant's database.
    tenant_apps: tuple[str, ...] = ()
    #: How long what is known of a tenant is used again without asking; zero: asked for each job.
    tenant_cache: dt.timedelta = dt.timedelta(0)
    #: With databases: most connections that one thread keeps open to tenants' databases.
    tenant_connections: int = 20
    #: Aliases beside the tenants' that carry jobs in their own transactions, by an outbox (``using(database=...)``).
    outbox_databases: tuple[str, ...] = ()
    #: How long the job of a tenant that is not ready waits until it is looked at again.
    tenant_wait: dt.timedelta = dt.timedelta(seconds=30)
    #: Crontab files. Relative paths begin at ``BASE_DIR``; ``{plugin}`` stands for each plugin that is active.
    crontabs: tuple[str, ...] = ()
    #: The project's own list of active plugins: names, or a callable that returns them (or its dotted path); it is
    #: asked each time before lines of crontab files are due.
    crontab_plugins: Callable[..., Any] | None = None
    #: Logical queue of their commands; a worker without ``-Q`` consumes it with the others.
    crontab_queue: str = "crontab"
    #: How long one command may take, where its line does not say; zero: for ever.
    crontab_time_limit: dt.timedelta = dt.timedelta(hours=1)
    #: Folder of the log files of commands that redirect their output nowhere, one for each line; empty: no files.
    crontab_logs: str = ""
    #: Names beside the built-in ones whose values are secrets, of arguments and in texts, compared without case.
    sensitive: tuple[str, ...] = ()
    #: What of the project runs, any text; failures can be snoozed until it changes. Empty: nobody knows.
    release: str = ""
    #: Whom the HTTP trigger believes (docs/trigger.md); None: nobody, and it refuses everything.
    trigger: TriggerSettings | None = None
    #: Bearer tokens (32 characters or more each) that may read deep health over HTTP, or a callable that returns them.
    health_tokens: tuple[SigningKey, ...] = ()


def _near(name: str, known: list[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def _as_queues(value: Any) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        return {str(k): str(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return {v: v for v in value}
    raise TypeError("a list of names, or a dict of logical name to broker queue name")


def _as_retention(value: Any) -> Mapping[str, dt.timedelta | None]:
    if not isinstance(value, Mapping) or not set(value) <= set(DEFAULT_RETENTION):
        raise TypeError(f"a dict with some of the keys {', '.join(DEFAULT_RETENTION)}")
    if not all(v is None or isinstance(v, dt.timedelta) for v in value.values()):
        raise TypeError("timedelta or None for each state")
    return {**DEFAULT_RETENTION, **value}


def _as_names(value: Any) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise TypeError("a list of names")


def _as_targets(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(value, Mapping) and all(isinstance(options, Mapping) for options in value.values()):
        return {str(name): dict(options) for name, options in value.items()}
    raise TypeError("a dict of target to a dict of its options")


def _as_owner(value: Any) -> str:
    if value in (None, ""):
        return ""
    if isinstance(value, str) and OWNER.fullmatch(value):
        return value
    raise TypeError("up to 40 lower-case letters, digits and dashes, with a letter or digit at each end")


def _as_tenancy(value: Any) -> str:
    if value in TENANCIES or value in (None, ""):
        return value or ""
    raise TypeError(f"one of {', '.join(map(repr, TENANCIES))}, or None")


def _as_callable(value: Any) -> Callable[..., Any] | None:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            raise TypeError(f"the dotted path of a callable ({error})") from error
    if value is not None and not callable(value):
        raise TypeError("a callable, or its dotted path")
    made: Callable[..., Any] | None = value
    return made


def _as_path(value: Any) -> str:
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError("a path")
    return os.fspath(value)


def _as_paths(value: Any) -> tuple[str, ...]:
    try:
        if isinstance(value, (list, tuple)):
            return tuple(_as_path(one) for one in value)
    except TypeError:
        pass
    raise TypeError("a list of paths")


def _as_plugins(value: Any) -> Callable[..., Any] | None:
    if isinstance(value, (list, tuple)):
        names = _as_names(value)
        return lambda: names
    return _as_callable(value)


def _as_positive_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError("a whole number above zero")
    return value


def _as_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("a whole number, zero or more")
    return value


def _as_duration(value: Any) -> dt.timedelta:
    if not isinstance(value, dt.timedelta) or value < dt.timedelta(0):
        raise TypeError("a timedelta that is not negative, for example timedelta(seconds=25)")
    return value


def _as_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("True or False")
    return value


def _as_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a string")
    return value


def _as_signing_keys(value: Any) -> tuple[SigningKey, ...]:
    keys = value() if callable(value) else value
    keys = () if keys is None else keys
    if not isinstance(keys, (list, tuple)) or not all(isinstance(key, (str, bytes)) for key in keys):
        raise TypeError("a list of strings, a callable that returns one, or None")
    secrets = [key.encode() if isinstance(key, str) else key for key in keys]
    if any(len(secret) < SIGNING_KEY_BYTES for secret in secrets):
        raise TypeError(f"keys of {SIGNING_KEY_BYTES} bytes or more, for example secrets.token_urlsafe(32)")
    return tuple(SigningKey(secret) for secret in secrets)


def _as_user_schedules(value: Any) -> UserSchedules | None:
    if value is None:
        return None
    converters: dict[str, Callable[[Any], Any]] = {
        "tasks": _as_names, "shortest_interval": _as_duration, "most_per_tenant": _as_positive_int,
    }  # fmt: skip
    if not isinstance(value, Mapping) or "tasks" not in value or not set(value) <= set(converters):
        raise TypeError("None, or a dict with 'tasks' and maybe 'shortest_interval' and 'most_per_tenant'")
    values: dict[str, Any] = {}
    for key, given in value.items():
        try:
            values[key] = converters[key](given)
        except TypeError as wanted:
            raise TypeError(f"a dict whose {key!r} is {wanted}") from None
    return UserSchedules(**values)


#: Settings whose values are never repeated in an error.
_SECRET = frozenset({"signing_keys", "trigger", "health_tokens"})
_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "signing_keys": _as_signing_keys, "queues": _as_queues, "retention": _as_retention, "handover": _as_names,
    "tenancy": _as_tenancy, "tenants": _as_callable, "tenant_databases": _as_names, "tenant_apps": _as_names,
    "tenant_of_user": _as_callable,
    "outbox_databases": _as_names, "schedule_targets": _as_targets, "schedule_owner": _as_owner,
    "user_schedules": _as_user_schedules,
    "sensitive": _as_names, "progress_access": _as_callable, "progress_streams": _as_count,
    "progress_streams_wsgi": _as_count, "crontabs": _as_paths, "crontab_plugins": _as_plugins, "crontab_logs": _as_path,
    "trigger": partial(read_trigger, as_keys=_as_signing_keys), "health_tokens": _as_signing_keys,
}  # fmt: skip
_BY_TYPE = {int: _as_positive_int, dt.timedelta: _as_duration, bool: _as_bool, str: _as_str}


def parse(raw: Mapping[str, Any], databases: Mapping[str, Any]) -> Settings:
    """Build settings from a ``TASKYARD`` dict; raises :class:`ConfigurationError` naming every problem at once."""
    hints = get_type_hints(Settings)
    known = [field.name.upper() for field in dataclasses.fields(Settings)]
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            problems.append(f"{key!r} is not a setting.{_near(str(key).upper(), known)}")
            continue
        name = key.lower()
        convert: Callable[[Any], Any] = _BY_NAME.get(name) or _BY_TYPE[hints[name]]
        try:
            values[name] = convert(value)
        except TypeError as wanted:
            given = "something else (not shown)" if name in _SECRET else repr(value)
            problems.append(f"{key} must be {wanted}; it is {given}.")
        except ConfigurationError as several:
            problems += several.problems
    if values.get("database", "default") not in databases:
        problems.append(f"DATABASE names {values.get('database', 'default')!r}, which DATABASES does not define.")
    for alias in values.get("outbox_databases", ()):
        if alias not in databases:
            problems.append(f"OUTBOX_DATABASES names {alias!r}, which DATABASES does not define.")
    if problems:
        raise ConfigurationError(problems)
    parsed = Settings(**values)
    if parsed.crontabs and parsed.queues:
        # Where queues are listed, others are refused: this one is there with the files.
        own = parsed.crontab_queue
        parsed = dataclasses.replace(parsed, queues={**parsed.queues, own: parsed.queues.get(own, own)})
    return parsed


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings in force; raises :class:`ConfigurationError` if they cannot work."""
    raw = getattr(django_settings, "TASKYARD", {})
    if not isinstance(raw, Mapping):
        raise ConfigurationError([f"TASKYARD must be a dict; it is a {type(raw).__name__}."])
    return parse(raw, django_settings.DATABASES)


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("TASKYARD", "DATABASES"):
        get_settings.cache_clear()


setting_changed.connect(_forget)
