"""``taskyard health``: for probes that run a command."""

from __future__ import annotations

import argparse
import datetime as dt
import threading
import warnings
from typing import Any, NamedTuple

import django
from django.apps import apps
from django.core.exceptions import AppRegistryNotReady
from django.db import connections

from taskyard.entrypoint.arguments import add_json, length
from taskyard.entrypoint.failures import KNOWN, Exit, explain
from taskyard.entrypoint.screen import Screen
from taskyard.monitoring import probe
from taskyard.monitoring.moving import STALLED

_EPILOG = """\
exit codes: 0 it moves; 1 it does not, or there is no such process; 2 the command line cannot be meant like this;
3 the database does not answer in time, so that nobody knows (0 with --lenient).
"""
_TIMEOUT = dt.timedelta(seconds=5)


class _Asked(NamedTuple):
    code: Exit
    says: tuple[str, ...]


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "health", help="for probes: is this host's worker or scheduler alive and moving", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--role", choices=probe.ROLES, required=True, help="web: could a web process serve")
    parser.add_argument("--worker", default="", metavar="NAME",
                        help="the process of that name (name or name@host) instead of all of this host")  # fmt: skip
    parser.add_argument("--stalled-after", type=length, default=STALLED, metavar="TIME",
                        help="how late an agent may come to its next turn (default: 60s)")  # fmt: skip
    parser.add_argument("--timeout", type=length, default=_TIMEOUT, metavar="TIME",
                        help="how long the database may take (default: 5s)")  # fmt: skip
    parser.add_argument("--lenient", action="store_true",
                        help="0 when the database does not answer: for probes that kill what fails")  # fmt: skip
    add_json(parser)
    # Loading a project's apps takes longer than asking; rows can be read without.
    parser.set_defaults(run=run, needs_apps=False)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Ask, and say what was found."""
    if not apps.ready:
        # Django's advice to apps; here none is being loaded.
        warnings.filterwarnings("ignore", "Accessing the database during app init", RuntimeWarning)
    code, says = _ask_in_time(options)
    unknown = code is Exit.UNREACHABLE
    if options.json:
        document = {"role": options.role, "status": "unknown" if unknown else "fail" if code else "ok", "says": says}
        screen.json(document)
    else:
        for line in says:
            screen.line(f"{'unknown' if unknown else 'FAIL' if code else 'ok'}  {line}")
    return Exit.OK if unknown and options.lenient else code


def _ask_in_time(options: argparse.Namespace) -> _Asked:
    # In a thread that is left behind if it must: drivers wait for a frozen server for as long as TCP does.
    answers: list[_Asked] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(options)), name="taskyard-probe", daemon=True)
    asking.start()
    asking.join(options.timeout.total_seconds())
    if answers:
        return answers[0]
    if asking.is_alive():
        seconds = options.timeout.total_seconds()
        return _Asked(Exit.UNREACHABLE, (f"the database did not answer within {seconds:g} s",))
    return _Asked(Exit.WRONG, ("the probe itself failed: its traceback says how",))


def _ask(options: argparse.Namespace) -> _Asked:
    try:
        return _answer(options)
    except AppRegistryNotReady:
        # The database's backend, or something that the settings name, has models.
        django.setup()
        return _answer(options)
    except KNOWN as error:
        known = explain(error)
        if known is None:
            raise
        return _Asked(known[0], tuple(known[1].splitlines()))
    finally:
        connections.close_all()


def _answer(options: argparse.Namespace) -> _Asked:
    now = dt.datetime.now(dt.UTC)
    found = probe.answer(options.role, now, name=options.worker, stalled_after=options.stalled_after)
    return _Asked(Exit.OK if found.is_moving else Exit.WRONG, found.says)
