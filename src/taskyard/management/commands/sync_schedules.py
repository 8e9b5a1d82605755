"""``manage.py sync_schedules``: ``manage.py taskyard schedules sync``, for those who know it by that name."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from taskyard.entrypoint.commands.schedules import add_sync_options, sync_target
from taskyard.entrypoint.failures import KNOWN, explain
from taskyard.entrypoint.screen import Screen


class Command(BaseCommand):
    """Ends with 0 if all is as the code says, else as ``taskyard schedules sync`` does."""

    help = "Carry the schedules of the code to the built-in scheduler, a cron file, a cluster or a cloud."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Those of ``taskyard schedules sync``."""
        add_sync_options(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Raises :class:`CommandError` with the exit code."""
        screen = Screen(options.get("stdout"), options.get("stderr"))
        try:
            code = int(sync_target(argparse.Namespace(**options), screen))
        except KNOWN as error:
            known = explain(error)
            if known is None or options.get("traceback"):
                raise
            raise CommandError(known[1], returncode=int(known[0])) from error
        if code:
            what = "something is to be done" if options["dry_run"] else "something could not be done"
            raise CommandError(f"sync_schedules --backend={options['backend']}: {what}", returncode=code)
