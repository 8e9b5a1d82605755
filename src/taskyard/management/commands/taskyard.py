"""``manage.py taskyard``: the command line of :mod:`taskyard.entrypoint.cli`, with Django set up already."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, handle_default_options

from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen


class Command(BaseCommand):
    """Hands everything over; Django's own option parsing would not know the subcommands."""

    help = "Background work: run it, look at it, steer it."
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        django_options = CommandParser(add_help=False, allow_abbrev=False)
        django_options.add_argument("--settings")
        django_options.add_argument("--pythonpath")
        # Behind "--" stands a command with options of its own.
        own, words = cli.split_at_dashes(argv[2:])
        known, rest = django_options.parse_known_args(own)
        handle_default_options(known)
        sys.exit(cli.run([*rest, *(["--", *words] if words else [])], prog=f"{argv[0]} {argv[1]}", has_project=True))

    def print_help(self, prog_name: str, subcommand: str) -> None:
        cli.build_parser(f"{prog_name} {subcommand}").print_help()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, arguments: list[str], **options: Any) -> None:
        """For ``call_command("taskyard", "jobs", "list")``; raises :class:`CommandError` with the exit code."""
        screen = Screen(options.get("stdout"), options.get("stderr"))
        code = cli.run(arguments, prog="manage.py taskyard", has_project=True, screen=screen)
        if code:
            raise CommandError(f"taskyard {' '.join(arguments)} ended with exit code {code}", returncode=code)
