"""Do the agents go on: threads that are stuck, turns that fail, roles that nobody plays?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from taskyard.jobs.rows.sql import Sql
from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.moving import CONSUMER, STALLED, Process, claims_take, troubles
from taskyard.monitoring.processes import is_waited_for, read_processes
from taskyard.monitoring.words import counted
from taskyard.settings import get_settings

#: Without these nothing leaves the table, or nothing runs by the clock, or lost work stays lost.
_NEEDED = ("feeder", "rescuer", "scheduler", "pruner")
#: So many turns in a row that end in an error are no hiccup.
_FAILURES = 3
#: Clocks of other hosts are compared here.
_SKEW = dt.timedelta(seconds=5)


def agents() -> Iterator[Finding]:
    """What the heartbeats of all live processes say."""
    now = dt.datetime.now(dt.UTC)
    sql = Sql(get_settings().database)
    found = [process for process in read_processes(sql) if now - process.heartbeat_at <= get_settings().worker_timeout]
    findings = [finding for process in found for finding in _of(sql, process, now)]
    findings += _missing([process for process in found if process.agents])
    if found and not findings:
        turning = sum(len(process.agents) for process in found)
        processes = counted(len(found), "process", more="processes")
        findings = [ok("agents", f"{turning} in {processes}, all of them moving")]
    yield from findings


def _of(sql: Sql, process: Process, now: dt.datetime) -> Iterator[Finding]:
    name = f"{process.role} {process.name}"
    waits = process.is_idle and is_waited_for(sql, process, since=now - claims_take(STALLED))
    wrong = troubles(process, now, silent_after=get_settings().worker_timeout + _SKEW, is_waited_for=waits)
    for trouble in wrong:
        fix = "Restart that process; a probe does it by itself: taskyard health (docs/health.md)."
        yield fail(name, trouble, fix=fix, facts={"pid": process.pid, "host": process.host})
    failing = {agent: tick.failures for agent, tick in process.agents.items() if tick.failures >= _FAILURES}
    if failing:
        says = ", ".join(f"the last {count:,} turns of its {agent}" for agent, count in failing.items())
        fix = "Its log says which; it goes on by itself when that is mended."
        yield warn(name, f"{says} ended in an error", fix=fix, facts={"failing": failing})
    if process.is_connecting and process.stopping_at is None and CONSUMER in process.agents:
        yield warn(name, "has no connection to the broker, and tries to get one", fix="Bring the broker back.")


def _missing(processes: Sequence[Process]) -> Iterator[Finding]:
    carried = {agent for process in processes for agent in process.agents}
    missing = [agent for agent in _NEEDED if agent not in carried]
    if processes and missing:
        yield fail(
            "agents", f"no live process carries: {', '.join(missing)}",
            fix="Start one: taskyard scheduler (workers bring them unless TASKYARD['AGENTS'] is False).",
        )  # fmt: skip
