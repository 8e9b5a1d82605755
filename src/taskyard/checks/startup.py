"""Whether the apps came up in an order in which Taskyard's own things are found."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.management import get_commands

from taskyard.checks.report import Found

_COMMANDS = ("taskyard", "sync_schedules")


def check_order() -> Iterator[Found]:
    """W016: an app that stands before 'taskyard' took something of it."""
    from taskyard.celery import is_without_app

    if is_without_app():
        yield Found(
            "W016",
            "An app that stands before 'taskyard' in INSTALLED_APPS asked for Celery's current app, so Celery made a "
            "plain one in silence: what @shared_task sends has no row, and goes to a RabbitMQ on this host.",
            "Put 'taskyard' before the apps that use Celery when they are loaded.",
        )  # fmt: skip
    for name in _COMMANDS:
        app = get_commands().get(name, "taskyard")
        if str(getattr(app, "__module__", app)).partition(".")[0] != "taskyard":
            yield Found(
                "W016", f"The command {name!r} of {app} hides the one of Taskyard.",
                f"Put 'taskyard' before {str(app)!r} in INSTALLED_APPS: the first app that has a command wins.",
            )  # fmt: skip
