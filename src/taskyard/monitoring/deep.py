"""Health in depth, as one JSON document: what is wrong and what to do, and the figures it was judged by."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

from taskyard.jobs import queries
from taskyard.jobs.rows.sql import Sql
from taskyard.monitoring.diagnosis import agents, broker, database, outboxes, schedules, tenants, work
from taskyard.monitoring.diagnosis.finding import Finding, Level, look
from taskyard.monitoring.moving import Process
from taskyard.monitoring.processes import read_processes
from taskyard.outbox.queries import has_outboxes, relay_overview
from taskyard.runtime.models import Lease
from taskyard.settings import get_settings

#: Without these there is nothing to ask.
_FIRST = {"database": database.latency, "migrations": database.migrations}
#: What of `doctor` says how things are now; how a project is set up is not asked every few seconds.
_THEN = {
    "broker": broker.answers, "workers": work.workers, "agents": agents.agents, "queues": work.queues,
    "tenants": tenants.not_ready, "outboxes": outboxes.known, "schedules": schedules.schedules,
    "time limits": work.long_runners,
}  # fmt: skip


def document(now: dt.datetime) -> dict[str, Any]:
    """``status`` is the worst of all ``checks``; what is counted of jobs is counted of all tenants.

    Asks the broker for two seconds at most, and the database for as long as it takes.
    """
    began = time.perf_counter()
    findings = list(_findings())
    levels = {finding.level for finding in findings}
    status = Level.FAIL if Level.FAIL in levels else Level.WARN if Level.WARN in levels else Level.OK
    can_be_asked = len(findings) > len(_FIRST)
    figures = _figures(now) if can_be_asked else {}
    took = round(time.perf_counter() - began, 3)
    checks = [dataclasses.asdict(finding) for finding in findings]
    return {"status": status, "checked_at": now, "took_seconds": took, "checks": checks, **figures}


def _findings() -> Iterator[Finding]:
    for name, check in _FIRST.items():
        findings = list(look(name, check))
        yield from findings
        if any(finding.level is Level.FAIL for finding in findings):
            return
    for name, check in _THEN.items():
        yield from look(name, check)


def _figures(now: dt.datetime) -> dict[str, Any]:
    alias = get_settings().database
    processes = read_processes(Sql(alias))
    names = {process.id: process.name for process in processes}
    leases = Lease.objects.using(alias).order_by("name")
    return {
        "queues": [dataclasses.asdict(queue) for queue in queries.queue_overview(now)],
        "processes": [_process(process) for process in processes],
        "leases": [
            {"name": lease.name, "held_by": names.get(lease.owner, ""), "expires_at": lease.expires_at}
            for lease in leases
        ],
        **({"outboxes": dataclasses.asdict(relay_overview(now))} if has_outboxes() else {}),
    }  # fmt: skip


def _process(process: Process) -> dict[str, Any]:
    return {
        field.name: getattr(process, field.name) for field in dataclasses.fields(process) if field.name != "agents"
    } | {"agents": {name: dataclasses.asdict(tick) for name, tick in process.agents.items()}}
