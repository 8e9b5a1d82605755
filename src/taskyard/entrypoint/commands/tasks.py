"""``taskyard tasks``: every declared task with its options, and what runs it by the clock."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError
from django.db.models import Count

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, duration

#: What such names begin with; nobody in the project declared those.
_NOT_THEIRS = ("taskyard.", "celery.")
_WIDTH = 14


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("tasks", help="list or show declared tasks: their options, and what schedules them")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every declared task")
    add_json(listing)
    listing.set_defaults(run=run)
    show = verbs.add_parser("show", help="everything about one")
    show.add_argument("name", metavar="NAME")
    add_json(show)
    show.set_defaults(run=show_task)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there are none."""
    tasks = documents()
    if options.json:
        screen.json(tasks)
    elif not tasks:
        screen.note("No task is declared: write one with @task in tasks.py of an installed app.")
    else:
        _show_all(screen, tasks)
    return Exit.OK if tasks else Exit.WRONG


def show_task(options: argparse.Namespace, screen: Screen) -> int:
    """Show one; raises :class:`~taskyard.errors.UnknownTask`."""
    from taskyard.errors import UnknownTask

    tasks = {task["name"]: task for task in documents()}
    found = tasks.get(options.name)
    if found is None:
        raise UnknownTask(options.name, difflib.get_close_matches(options.name, tasks, n=1))
    if options.json:
        screen.json(found)
        return Exit.OK
    screen.heading(f"{found['name']}{found['signature']}")
    for title, text in _facts(found):
        if text:
            screen.line(f"  {screen.paint(title.ljust(_WIDTH), 'grey')} {text}")
    return Exit.OK


def discover() -> None:
    """Import what a worker would import."""
    from taskyard.celery import get_app

    get_app().loader.import_default_modules()


def documents() -> list[dict[str, Any]]:
    """Every task of the project, ours and Celery's, by name."""
    from taskyard.celery import get_app
    from taskyard.tasks import registry

    discover()
    app = get_app()
    own = {task.name: document(task) for task in registry.all_tasks()}
    celerys = {name: _celery_document(task) for name, task in app.tasks.items() if name not in own}
    scheduled = _schedules()
    limits = {"soft_time_limit_seconds": app.conf.task_soft_time_limit, "time_limit_seconds": app.conf.task_time_limit}
    return [
        {
            **task, **{limit: _number(value) for limit, value in limits.items() if task[limit] is None},
            "routed_to": app.route_of(name), "schedules": scheduled.get(name, []),
        }
        for name, task in sorted({**celerys, **own}.items())
        if not name.startswith(_NOT_THEIRS)
    ]  # fmt: skip


def document(task: Any) -> dict[str, Any]:
    """A task as JSON; durations in seconds."""
    options = task.options
    retry = options.retry
    unique = options.unique
    return {
        "name": task.name,
        "kind": "taskyard",
        **_source(task.func),
        "signature": str(task.signature),
        "queue": options.queue,
        "priority": options.priority,
        "max_retries": retry.max_retries,
        "retry_on": [error.__name__ for error in retry.on],
        "backoff_seconds": retry.backoff.total_seconds(),
        "backoff_max_seconds": retry.backoff_max.total_seconds(),
        "jitter": retry.jitter,
        "soft_time_limit_seconds": _seconds(options.soft_time_limit),
        "time_limit_seconds": _seconds(options.time_limit),
        "unique": getattr(unique, "__qualname__", "a callable") if callable(unique) else unique,
        "unique_until": options.unique_until if unique else None,
        "on_duplicate": options.on_duplicate if unique else None,
        "bind": options.bind,
        "tracked": options.tracked,
        "errors": {kind.__name__: status for kind, status in options.errors.items()},
        "pack": options.pack,
        "tenant_scope": options.tenant_scope,
    }


def _celery_document(task: Any) -> dict[str, Any]:
    """One of Celery's own; it retries on ``retry_on`` by itself, and wherever its body says so."""
    body = inspect.unwrap(task.run)
    # With retry_backoff (True: from one second) the wait doubles; without it is always the same.
    backoff = float(getattr(task, "retry_backoff", False))
    return {
        "name": task.name,
        "kind": "celery",
        **_source(body),
        "signature": str(inspect.signature(body)),
        "queue": getattr(task, "queue", None),
        "priority": task.priority or 0,
        "max_retries": task.max_retries,
        "retry_on": [error.__name__ for error in getattr(task, "autoretry_for", ())],
        "backoff_seconds": backoff or float(task.default_retry_delay),
        "backoff_max_seconds": float(getattr(task, "retry_backoff_max", 600) if backoff else task.default_retry_delay),
        "jitter": bool(backoff and getattr(task, "retry_jitter", True)),
        "soft_time_limit_seconds": _number(task.soft_time_limit),
        "time_limit_seconds": _number(task.time_limit),
        "unique": None,
        "unique_until": None,
        "on_duplicate": None,
        "bind": inspect.ismethod(body),
        "tracked": bool(getattr(task, "tracked", True)),
        "pack": False,
        "tenant_scope": "any",
    }


def _source(function: Any) -> dict[str, Any]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}" if code else ""
    doc = inspect.getdoc(function) or ""
    return {
        "declared_in": f"{function.__module__}.{function.__qualname__}",
        "source": where,
        "about": doc.partition("\n\n")[0].replace("\n", " "),
    }


def _schedules() -> dict[str, list[str]]:
    """Task -> what runs it by the clock: schedules of the code and of rows; of tenants' own only how many."""
    from taskyard.schedules.models import Schedule
    from taskyard.schedules.sources.code import declared

    found = defaultdict(set)
    for name, declaration in declared().items():
        found[declaration.definition.task].add(name)
    tenants: list[tuple[str, int]] = []
    try:
        for task, name in Schedule.objects.visible_to("").values_list("task", "name"):
            found[task].add(name)
        rows = Schedule.objects.visible_to(None).exclude(tenant="").values_list("task")
        tenants = list(rows.annotate(Count("pk")).order_by("task"))
    except DatabaseError:
        # What the code says can be told without a database, or before it is migrated.
        pass
    listed = {task: sorted(names) for task, names in found.items()}
    for task, count in tenants:
        listed.setdefault(task, []).append(f"{count:,} of tenants")
    return listed


def _seconds(limit: Any) -> float | None:
    return None if limit is None else float(limit.total_seconds())


def _number(limit: Any) -> float | None:
    return None if limit is None else float(limit)


def _show_all(screen: Screen, tasks: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["name"], task["routed_to"], task["priority"], _retry(task), _limits(task), _unique(task),
            "yes" if task["tracked"] else "no", ", ".join(task["schedules"]) or "no", task["source"],
        )
        for task in tasks
    ]  # fmt: skip
    columns = ("TASK", "QUEUE", "PRIORITY", "RETRIES", "LIMITS", "UNIQUE", "TRACKED", "SCHEDULED", "SOURCE")
    screen.table(columns, rows)


def _facts(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "about", task["about"]
    yield "declared in", f"{task['declared_in']}, {task['source']}"
    yield "queue", task["routed_to"] if task["queue"] else f"{task['routed_to']} (by route)"
    yield "priority", str(task["priority"])
    yield "retries", _retry(task)
    yield "time limits", _limits(task)
    yield "unique", _unique(task)
    yield "tracked", "" if task["tracked"] else "no: none of the promises hold for it"
    yield "pack", "many jobs travel in one message" if task["pack"] else ""
    yield "tenants", "" if task["tenant_scope"] == "any" else task["tenant_scope"]
    yield "scheduled", ", ".join(task["schedules"]) or "no"


def _retry(task: dict[str, Any]) -> str:
    if task["kind"] == "celery" and not task["retry_on"]:
        return "by itself"
    if not task["max_retries"]:
        return "none"
    first, most = duration(task["backoff_seconds"]), duration(task["backoff_max_seconds"])
    return f"{task['max_retries']} on {', '.join(task['retry_on'])}, {first}" + (f" to {most}" if most != first else "")


def _limits(task: dict[str, Any]) -> str:
    soft, hard = task["soft_time_limit_seconds"], task["time_limit_seconds"]
    parts = [f"soft {duration(soft)}" if soft else "", f"hard {duration(hard)}" if hard else ""]
    return ", ".join(part for part in parts if part) or "none"


def _unique(task: dict[str, Any]) -> str:
    unique = task["unique"]
    if not unique:
        return "no"
    key = "all arguments" if unique is True else ", ".join(unique) if isinstance(unique, (tuple, list)) else str(unique)
    return f"{key} until {task['unique_until']}"
