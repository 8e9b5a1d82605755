"""``taskyard tasks``: every declared task with its options."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, duration

#: What such names begin with; nobody in the project declared those.
_OUR_OWN = "taskyard."


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("tasks", help="list declared tasks and their options")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every declared task")
    add_json(listing)
    listing.set_defaults(run=run)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there are none."""
    from taskyard.tasks import registry

    discover()
    tasks = [document(task) for task in registry.all_tasks() if not task.name.startswith(_OUR_OWN)]
    if options.json:
        screen.json(tasks)
    elif not tasks:
        screen.note("No task is declared: write one with @task in tasks.py of an installed app.")
    else:
        _show(screen, tasks)
    return Exit.OK if tasks else Exit.WRONG


def discover() -> None:
    """Import what a worker would import."""
    from taskyard.celery import get_app

    get_app().loader.import_default_modules()


def document(task: Any) -> dict[str, Any]:
    """A task as JSON; durations in seconds."""
    options = task.options
    retry = options.retry
    unique = options.unique
    return {
        "name": task.name,
        "declared_in": f"{task.func.__module__}.{task.func.__qualname__}",
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
    }


def _seconds(limit: Any) -> float | None:
    return None if limit is None else float(limit.total_seconds())


def _show(screen: Screen, tasks: list[dict[str, Any]]) -> None:
    rows = [
        (
            task["name"], task["queue"] or "by route", task["priority"], _retry(task), _limits(task), _unique(task),
            task["declared_in"],
        )
        for task in tasks
    ]  # fmt: skip
    screen.table(("TASK", "QUEUE", "PRIORITY", "RETRIES", "LIMITS", "UNIQUE", "DECLARED IN"), rows)


def _retry(task: dict[str, Any]) -> str:
    if not task["max_retries"]:
        return "none"
    first, most = duration(task["backoff_seconds"]), duration(task["backoff_max_seconds"])
    return f"{task['max_retries']} on {', '.join(task['retry_on'])}, {first} to {most}"


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
