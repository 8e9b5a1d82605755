"""Is the broker there, and is Celery set up so that the promises hold?"""

from __future__ import annotations

import datetime as dt
import functools
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.conf import settings as django_settings
from django.db import connections

from taskyard.monitoring.diagnosis.finding import Finding, fail, look, ok, warn
from taskyard.monitoring.words import duration
from taskyard.settings import get_settings

_TIMEOUT, _SHORT_TIMEOUT = dt.timedelta(seconds=5), dt.timedelta(seconds=2)
_SLOW_SECONDS = 1.0
_SHORT_VISIBILITY_SECONDS = 60.0
_UNSAFE = {"pickle", "application/x-python-serialize", "yaml", "application/x-yaml"}


def round_trip(timeout: dt.timedelta = _TIMEOUT) -> Iterator[Finding]:
    """A message that comes back."""
    from taskyard.celery.health import broker_round_trip

    took = broker_round_trip(timeout)
    says = f"a message came back after {duration(took)}"
    if took > _SLOW_SECONDS:
        yield warn("broker", says, fix="Look at the broker's load and at the network to it.")
    else:
        yield ok("broker", says)


class _Look(threading.Thread):
    """A round trip that may be left behind: some drivers wait for a frozen broker for minutes."""

    def __init__(self) -> None:
        super().__init__(name="taskyard-broker-look", daemon=True)
        self.began = time.monotonic()
        self.findings: list[Finding] = []

    def run(self) -> None:
        """See :func:`round_trip`."""
        try:
            self.findings = list(look("broker", functools.partial(round_trip, _SHORT_TIMEOUT)))
        finally:
            connections.close_all()


_looking: list[_Look] = []


def answers() -> Iterator[Finding]:
    """The same within two seconds, for pages that are asked often; one that hangs is not asked a second time."""
    if not (_looking and _looking[0].is_alive()):
        _looking[:] = [_Look()]
        _looking[0].start()
    asking = _looking[0]
    asking.join(_SHORT_TIMEOUT.total_seconds())
    if asking.findings:
        yield from asking.findings
    else:
        since = time.monotonic() - asking.began
        fix = "Look at the broker. Jobs that are enqueued wait in the database meanwhile."
        yield fail("broker", f"has not answered for {duration(since)}", fix=fix)


def app() -> Iterator[Finding]:
    """The project's Celery app, and options of it that take promises away."""
    from taskyard.celery import Celery, get_app

    current = get_app()
    foreign = _foreign_app(Celery)
    if foreign:
        yield fail(
            "celery app", f"{foreign} is a plain celery.Celery: what is sent through it has no row",
            fix="In that module, write `from taskyard.celery import Celery`.",
        )  # fmt: skip
    else:
        yield ok("celery app", f"{current.main or 'taskyard'}, through the table")
    yield from _unsafe(current.conf)
    yield from _redis(current.conf)


def _foreign_app(ours: type) -> str:
    """Dotted name of the project's app if it is not ours."""
    package = (django_settings.SETTINGS_MODULE or "").partition(".")[0]
    spec = find_spec(package) if package and package != "taskyard" else None
    if spec is None or spec.submodule_search_locations is None or find_spec(f"{package}.celery") is None:
        return ""
    found = getattr(import_module(f"{package}.celery"), "app", None)
    return f"{package}.celery:app" if found is not None and not isinstance(found, ours) else ""


def _unsafe(conf: Any) -> Iterator[Finding]:
    accepted = _UNSAFE & {str(kind) for kind in conf.accept_content or ()}
    if accepted:
        yield fail(
            "content types", f"workers accept {', '.join(sorted(accepted))}: who writes to the broker can run any code",
            fix="Remove it from CELERY_ACCEPT_CONTENT; arguments are JSON.",
        )  # fmt: skip
    else:
        yield ok("content types", "JSON only")
    if conf.task_always_eager:
        yield warn(
            "eager mode", "tasks run in the process that calls them, workers get nothing",
            fix="Unset CELERY_TASK_ALWAYS_EAGER where workers are meant to run.",
        )  # fmt: skip
    if django_settings.DEBUG:
        yield warn(
            "debug", "DEBUG is on: each process keeps all its queries in memory",
            fix="Set DEBUG = False where workers run for longer than a day.",
        )  # fmt: skip
    if get_settings().close_connections:
        yield warn(
            "connections", "workers open a new database connection for each job (CLOSE_CONNECTIONS)",
            fix="Remove TASKYARD['CLOSE_CONNECTIONS'] unless a pooler asks for it: reuse is more than twice as fast.",
        )  # fmt: skip
    else:
        yield ok("connections", "workers keep their database connection between jobs")


def _redis(conf: Any) -> Iterator[Finding]:
    url = str(conf.broker_url or "")
    if not url.startswith(("redis", "rediss", "valkey", "sentinel")):
        return
    visibility = (conf.broker_transport_options or {}).get("visibility_timeout")
    if visibility is not None and float(visibility) < _SHORT_VISIBILITY_SECONDS:
        yield warn(
            "visibility timeout", f"{visibility} s: Redis hands every message out again after it",
            fix="Remove visibility_timeout: duplicates are dropped, but each one costs a look at the table.",
        )  # fmt: skip


def settings() -> Iterator[Finding]:
    """Whether ``TASKYARD`` reads as meant; raises its own error otherwise."""
    current = get_settings()
    says = (
        f"TASKYARD is valid; queues: {', '.join(current.queues)}" if current.queues else "TASKYARD is valid; any queue"
    )
    yield ok("settings", says)
    if current.worker_timeout < 3 * current.heartbeat:
        yield warn(
            "heartbeat", f"WORKER_TIMEOUT is {duration(current.worker_timeout)}, less than three heartbeats",
            fix="Raise TASKYARD['WORKER_TIMEOUT']: one late heartbeat must not cost a worker its jobs.",
        )  # fmt: skip
