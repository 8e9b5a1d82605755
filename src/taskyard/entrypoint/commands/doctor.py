"""``taskyard doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from typing import Any

from taskyard.entrypoint.arguments import add_json, count
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen

#: How long a look into every outbox may take.
_SECONDS = 30


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("doctor", help="check everything and name the fix; 1 if anything fails")
    parser.add_argument(
        "--outboxes", nargs="?", type=count, const=_SECONDS, default=0, metavar="SECONDS",
        help=f"look into the outbox of every tenant's database, for at most so long (default: {_SECONDS})",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Check; 1 if anything fails, 0 also with warnings."""
    from taskyard.monitoring.diagnosis.finding import Level

    findings = []
    for finding in diagnose(outboxes_for=options.outboxes):
        findings.append(finding)
        if not options.json:
            _show(screen, finding)
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    if options.json:
        screen.json({"ok": not failed, "failed": failed, "warned": warned, "checks": findings})
    else:
        screen.line()
        screen.line(f"{len(findings)} checks: {failed} failed, {warned} with a warning.")
    return Exit.WRONG if failed else Exit.OK


def diagnose(*, outboxes_for: float = 0) -> Iterator[Any]:
    """Every finding, as it is found; what needs a table is left out while there is none.

    ``outboxes_for``: look into every outbox, for so many seconds at most; zero: ask only what the relay knows.
    """
    from taskyard.monitoring.diagnosis import agents, broker, database, outboxes, sagas, schedules, tenants, work
    from taskyard.monitoring.diagnosis.finding import Level, look

    first = {"settings": broker.settings, "database": database.latency, "migrations": database.migrations}
    then = {
        "sqlite": database.sqlite, "vacuum": database.vacuum, "clock": database.clock,
        "time zones": database.time_zones, "celery app": broker.app, "broker": broker.round_trip,
        "workers": work.workers, "agents": agents.agents, "queues": work.queues,
        "tenants": tenants.not_ready, "outboxes": outboxes.known,
        "schedules": schedules.schedules, "crontab": schedules.crontabs, "sagas": sagas.sagas,
        "time limits": work.long_runners,
    }  # fmt: skip
    if outboxes_for:
        then["all outboxes"] = functools.partial(outboxes.all_of_them, outboxes_for)
    for name, check in first.items():
        findings = list(look(name, check))
        yield from findings
        if any(finding.level is Level.FAIL for finding in findings) and name != "database":
            return
        if any(finding.level is Level.FAIL and finding.fix.startswith("Start it") for finding in findings):
            return
    for name, check in then.items():
        yield from look(name, check)


def _show(screen: Screen, finding: Any) -> None:
    colour = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.level]
    screen.line(f"{screen.paint(str(finding.level).ljust(4), colour)}  {finding.name}: {finding.finding}")
    if finding.fix:
        screen.line(f"      {screen.paint('fix:', 'bold')} {finding.fix}")
