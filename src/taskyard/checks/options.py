"""Celery's options that take promises away. What tasks declare is told by their source, which is read, not run."""

from __future__ import annotations

import datetime as dt
import difflib
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings

from taskyard.checks.report import Found
from taskyard.checks.source.findings import Declared, Source, source
from taskyard.settings import get_settings

_UNSAFE = frozenset({"pickle", "yaml"})
#: What Celery's transport for Redis does by itself.
_VISIBILITY_SECONDS = 3600.0
_REDIS = ("redis", "rediss", "valkey", "sentinel")
_MOST_NAMES = 5


def check_options() -> Iterator[Found]:
    """W003, W004, W007 to W009, W015, W017 and W019."""
    from taskyard.celery import get_app

    conf, read = get_app().conf, source()
    yield from _serializers(conf, read.tasks)
    yield from _limits(conf, read.tasks)
    yield from _beat(conf, read)
    yield from _results(conf, read)
    yield from _time_zones(conf)
    yield from _visibility(conf, read)
    yield from _queues(conf, read)


def _serializers(conf: Any, tasks: Iterable[Declared]) -> Iterator[Found]:
    said = {f"CELERY_{option.upper()}": conf.get(option) for option in ("task_serializer", "result_serializer")}
    places = [(name, "") for name, kind in said.items() if kind in _UNSAFE]
    places += [(f"serializer of {task.name}", task.where) for task in tasks if task.serializer in _UNSAFE]
    for what, where in places:
        yield Found(
            "W003", f"Objects are sent as pickle or YAML ({what}): who can write to the broker could run any code.",
            "Set it to 'json', and pass primary keys in place of objects.", where,
        )  # fmt: skip


def _limits(conf: Any, tasks: Iterable[Declared]) -> Iterator[Found]:
    annotated = conf.task_annotations if isinstance(conf.task_annotations, Mapping) else {}
    limited = {name for name, said in annotated.items() if {"time_limit", "soft_time_limit"} & set(said)}
    if conf.task_time_limit or conf.task_soft_time_limit or "*" in limited:
        return
    without = [task for task in tasks if not task.is_limited and task.name not in limited]
    if without:
        names = [f"{task.name} ({task.where})" for task in without[:_MOST_NAMES]]
        more = f" and {len(without) - _MOST_NAMES} more" if len(without) > _MOST_NAMES else ""
        yield Found(
            "W004", f"Nothing ends these tasks if they hang: {', '.join(names)}{more}.",
            "Declare time_limit for each, or set CELERY_TASK_TIME_LIMIT (seconds) for all.",
        )  # fmt: skip


def _beat(conf: Any, read: Source) -> Iterator[Found]:
    # Where code says it, that place is named.
    if conf.beat_schedule and not read.sets_beat_schedule:
        yield Found(
            "W007", f"CELERY_BEAT_SCHEDULE holds {len(conf.beat_schedule)} entries, which only a deploy can change.",
            "Move them to @schedule or to rows: taskyard schedules import --from=entries.",
        )  # fmt: skip


def _results(conf: Any, read: Source) -> Iterator[Found]:
    backend = str(conf.result_backend or "disabled")
    is_kept_for_nobody = not (
        backend.startswith(("taskyard.", "disabled", "django-db")) or conf.task_ignore_result or read.reads_results
    )
    if is_kept_for_nobody and not all(task.ignores_result for task in read.tasks):
        kind = backend.partition(":")[0]
        yield Found(
            "W008", f"Results are written to {kind}, and nothing in the project reads one.",
            "Unset CELERY_RESULT_BACKEND: the job's row keeps state and result. Or set CELERY_TASK_IGNORE_RESULT.",
        )  # fmt: skip
    if backend.startswith("rpc") and not conf.result_expires:
        yield Found(
            "W017", "Results go to queues of RabbitMQ (rpc://) and never expire: those nobody fetches fill the broker.",
            "CELERY_RESULT_EXPIRES = 3600, in seconds.",
        )  # fmt: skip


def _time_zones(conf: Any) -> Iterator[Found]:
    if not django_settings.USE_TZ:
        yield Found("W009", "USE_TZ is off: stored times are ambiguous twice a year.", "USE_TZ = True")
        return
    theirs, ours = str(conf.timezone or ""), django_settings.TIME_ZONE
    if theirs and not _same(theirs, ours):
        yield Found(
            "W009", f"CELERY_TIMEZONE is {theirs}, TIME_ZONE is {ours}: 08:00 of a schedule, or of an eta without an "
            "offset, is another time for Celery than for Django.",
            "Remove CELERY_TIMEZONE, or give both the same zone.",
        )  # fmt: skip
    elif not theirs and conf.beat_schedule and conf.enable_utc and not _same("UTC", ours):
        yield Found(
            "W009", f"Entries of CELERY_BEAT_SCHEDULE are read in UTC, TIME_ZONE is {ours}.",
            f"CELERY_TIMEZONE = {ours!r}",
        )  # fmt: skip
    if conf.enable_utc is False:
        yield Found("W009", "CELERY_ENABLE_UTC is off: messages carry times of their sender.", "Remove it.")


def _same(one: str, other: str) -> bool:
    """Whether clocks of both zones show the same, in winter and in summer."""
    try:
        zones = [zoneinfo.ZoneInfo(name) for name in (one, other)]
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return one == other
    days = [dt.datetime(2026, month, 15, 12, tzinfo=dt.UTC) for month in (1, 7)]
    return all(day.astimezone(zones[0]).utcoffset() == day.astimezone(zones[1]).utcoffset() for day in days)


def _visibility(conf: Any, read: Source) -> Iterator[Found]:
    if not str(conf.broker_url or "").startswith(_REDIS):
        return
    visible = float((conf.broker_transport_options or {}).get("visibility_timeout") or _VISIBILITY_SECONDS)
    if held := _held_seconds(conf, read):
        longest, what = max(held)
        if visible < longest:
            yield Found(
                "W015", f"Redis hands a message out again after {visible:g} s (visibility_timeout), but {what} holds "
                f"one for up to {longest:g} s: a worker takes it a second time meanwhile.",
                f"Raise CELERY_BROKER_TRANSPORT_OPTIONS['visibility_timeout'] above {longest:g}, or remove it.",
            )  # fmt: skip


def _held_seconds(conf: Any, read: Source) -> list[tuple[float, str]]:
    """For how long a message may stay unacknowledged, and why: jobs that have a row are acknowledged early."""
    early = get_settings().acknowledge_after.total_seconds()
    overall = float(conf.task_time_limit or conf.task_soft_time_limit or 0)
    held = []
    for task in read.tasks:
        limit = task.limit_seconds or overall
        if not task.is_tracked or read.has_foreign_app:
            held.append((limit, task.name))
        else:
            held.append((min(limit or early, early), f"{task.name}, acknowledged after ACKNOWLEDGE_AFTER,"))
    return held


def _queues(conf: Any, read: Source) -> Iterator[Found]:
    settings = get_settings()
    queues = conf.task_queues or ()
    known = {
        name for queue in queues for name in (getattr(queue, "alias", None), getattr(queue, "name", queue)) if name
    }
    if not known:
        # Any name is a queue of its own; what consumes it is known at run time: `taskyard doctor` looks.
        return
    known |= {*settings.queues, *settings.queues.values(), *settings.handover, str(conf.task_default_queue)}
    routed = [*_routes(conf.task_routes), *read.queues]
    for queue, what, where in routed:
        if queue not in known:
            near = difflib.get_close_matches(queue, known, n=1)
            yield Found(
                "W019", f"{what} goes to the queue {queue!r}, which nothing declares: no worker takes it.",
                f"Add it to TASKYARD['QUEUES']{f', or did you mean {near[0]!r}?' if near else '.'}", where,
            )  # fmt: skip


def _routes(routes: Any) -> Iterator[tuple[str, str, str]]:
    """Queue, what goes there, and nothing about the place; of routes that are functions nobody can tell."""
    if isinstance(routes, (list, tuple)) and not (len(routes) == 2 and isinstance(routes[0], str)):
        for one in routes:
            yield from _routes(one)
    elif isinstance(routes, (Mapping, list, tuple)):
        for pattern, route in routes.items() if isinstance(routes, Mapping) else [routes]:
            queue = route.get("queue") if isinstance(route, Mapping) else route
            name = getattr(queue, "name", queue)
            if isinstance(name, str):
                yield name, f"{getattr(pattern, 'pattern', pattern)} (CELERY_TASK_ROUTES)", ""
