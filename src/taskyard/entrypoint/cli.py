"""The command line: one parser, one place where errors become exit codes."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from taskyard.entrypoint.failures import KNOWN, Exit, UsageError, explain
from taskyard.entrypoint.screen import Screen

_EPILOG = """\
exit codes: 0 done; 1 something is wrong, or nothing matched; 2 the command line cannot be meant like this;
3 the database or the broker cannot be reached; 4 the user of --as may not do this. Reading commands take --json.
"""


def _commands(first: str) -> tuple[ModuleType, ...]:
    # In the order of `--help`. Imported late: `--help` and `demo` work without Django settings.
    from taskyard.entrypoint.commands import health

    if first == "health":
        # A probe asks every few seconds: it reads nothing of the others.
        return (health,)
    from taskyard.entrypoint.commands import (
        audit,
        batches,
        crontab,
        demo,
        doctor,
        failures,
        jobs,
        processes,
        queues,
        sagas,
        schedules,
        status,
        tasks,
        tenants,
        tokens,
        workers,
    )  # fmt: skip

    return (
        processes, status, doctor, health, jobs, batches, sagas, failures, schedules, crontab, queues, tenants, workers,
        audit, tokens, tasks, demo,
    )  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """Whoever leaves out what to do is told what there is."""

    def error(self, message: str) -> NoReturn:
        if message.endswith((": COMMAND", ": VERB")):
            self.print_help(sys.stderr)
            self.exit(Exit.USAGE)
        super().error(message)


def build_parser(prog: str, first: str = "") -> argparse.ArgumentParser:
    """The whole command line; as little of it as the first word needs."""
    parser = _Parser(
        prog=prog, description="Background work for Django.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--traceback", action="store_true", help="show where a known error came from")
    parser.set_defaults(needs_project=True, needs_apps=True, takes_rest=False)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _commands(first):
        module.add_to(subparsers)
    return parser


def parse(arguments: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse; what the worker does not know itself is left for Celery's worker in ``rest``.

    The command that ``tenants run`` runs stands behind ``--``, and is left in ``words``.
    """
    parser = build_parser(prog, next(iter(arguments), ""))
    own, words = split_at_dashes(arguments)
    if [word for word in own if not word.startswith("-")][:2] != ["tenants", "run"]:
        own, words = list(arguments), []
    options, rest = parser.parse_known_args(own)
    options.words = words
    if rest and not options.takes_rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return options


def split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before ``--``, and what behind it."""
    own = list(itertools.takewhile(lambda word: word != "--", arguments))
    return own, list(arguments[len(own) + 1 :])


def run(arguments: Sequence[str], *, prog: str, has_project: bool = False, screen: Screen | None = None) -> int:
    """Run one command; its exit code. ``has_project``: Django is set up already."""
    screen = screen or Screen()
    options = parse(arguments, prog)
    try:
        if options.needs_project and not has_project:
            from taskyard.entrypoint import project

            project.load(with_apps=options.needs_apps)
            if options.needs_apps:
                _check_installed()
        return int(options.run(options, screen))
    except KNOWN as error:
        known = explain(error)
        if known is None or options.traceback:
            raise
        code, sentence = known
        screen.note(f"taskyard: {sentence}")
        return int(code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `taskyard jobs list | head`: whoever read has enough. Python would complain at exit when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)


def _check_installed() -> None:
    from django.apps import apps

    if not apps.is_installed("taskyard"):
        raise UsageError("This project does not use Taskyard yet: add 'taskyard' to INSTALLED_APPS, then migrate.")
