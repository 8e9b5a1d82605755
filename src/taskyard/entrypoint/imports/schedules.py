"""``taskyard schedules import``: what runs by the clock elsewhere becomes schedules here."""

from __future__ import annotations

import argparse
import datetime as dt
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

if TYPE_CHECKING:
    from taskyard.schedules.sources.imports import Found, Source, Step

    Answer = tuple[Source, Iterable[Found]]

_MEANS = {
    "add": "new", "change": "it has changed there", "same": "", "edited": "left as it is", "conflict": "left alone",
    "refused": "it cannot be said here",
}  # fmt: skip


def add_to(verbs: Any) -> None:
    """Declare the command."""
    text = "make schedules of what runs by the clock elsewhere; a second run changes nothing"
    parser = verbs.add_parser("import", help=text, description=text)
    parser.add_argument("source", choices=[*_SOURCES, "crontab"], metavar="SOURCE",
                        help=f"one of {', '.join(_SOURCES)}, crontab")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--disable", action="store_true",
                        help="of django-celery-beat: disable there what was taken over, or it runs twice")  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=import_schedules)


def import_schedules(options: argparse.Namespace, screen: Screen) -> int:
    """Import; 1 if something could not be taken over."""
    from django.db import transaction

    from taskyard.enqueue import control_alias
    from taskyard.schedules.sources.imports import take_over

    if options.disable and options.source != "django-celery-beat":
        raise UsageError("--disable is for django-celery-beat: nothing else has rows to disable.")
    if options.source == "crontab":
        raise UsageError(
            "Crontab files are followed where they stand: name them in TASKYARD['CRONTABS'], and see what they say with"
            " `taskyard crontab check`."
        )
    now = dt.datetime.now(dt.UTC)
    with transaction.atomic(using=control_alias()):
        source, found = _SOURCES[options.source](now)
        steps = take_over(source, list(found), now, is_rehearsal=options.dry_run)
        disabled = _disable(steps) if options.disable and not options.dry_run else 0
    _show(steps, disabled, options=options, screen=screen)
    return Exit.WRONG if any(step.kind in ("refused", "conflict") for step in steps) else Exit.OK


def _show(steps: list[Step], disabled: int, *, options: argparse.Namespace, screen: Screen) -> None:
    if options.json:
        fields = ("kind", "name", "tenant", "reason", "notes", "columns")
        screen.json([{name: getattr(step, name) for name in fields} for step in steps])
        return
    for step in steps:
        means = step.reason or _MEANS[step.kind]
        screen.line(f"{step.kind:<8} {step.name}" + (f"  ({means})" if means else ""))
        for note in step.notes:
            screen.line(f"           note: {note}")
    if not steps:
        screen.line("There is nothing to import.")
    elif options.dry_run:
        screen.line("Nothing was written.")
    elif disabled:
        screen.line(f"Disabled there: {disabled}.")
    elif any(step.kind in ("add", "change") for step in steps):
        screen.line("Now stop what ran them until today, or each runs twice.")


def _disable(steps: list[Step]) -> int:
    from taskyard.compat.django_celery_beat.importing import disable

    return disable(steps)


def _from_django_celery_beat(now: dt.datetime) -> Answer:
    from django.apps import apps

    if find_spec("django_celery_beat") is None or not apps.is_installed("django_celery_beat"):
        raise UsageError("django_celery_beat is not among INSTALLED_APPS: its rows cannot be read.")
    from taskyard.compat.django_celery_beat import importing

    return importing.SOURCE, importing.found(now)


def _from_beat_schedule(now: dt.datetime) -> Answer:
    from taskyard.celery import get_app
    from taskyard.celery.beat import entries

    return entries.SOURCE, entries.found_in(get_app())


def _from_django_cron(now: dt.datetime) -> Answer:
    from django.conf import settings

    if not getattr(settings, "CRON_CLASSES", None):
        raise UsageError("CRON_CLASSES is not set: there is nothing of django-cron to import.")
    from taskyard.compat import django_cron

    return django_cron.SOURCE, django_cron.found()


_SOURCES: dict[str, Callable[[dt.datetime], Any]] = {
    "django-celery-beat": _from_django_celery_beat,
    "celery-beat-schedule": _from_beat_schedule,
    "django-cron": _from_django_cron,
}
