"""Answers a probe: are the processes of this host alive and moving? Three short statements, and no app is loaded."""

from __future__ import annotations

import dataclasses
import datetime as dt
import socket
from collections.abc import Sequence

from taskyard.jobs.rows.sql import Sql
from taskyard.monitoring.moving import STALLED, Process, claims_take, troubles
from taskyard.monitoring.processes import is_waited_for, read_processes
from taskyard.monitoring.troubles import unapplied_migrations
from taskyard.monitoring.words import duration
from taskyard.settings import get_settings

ROLES = ("worker", "scheduler", "web")
#: What makes a process one that schedules.
_SCHEDULER = "scheduler"
#: What a scheduler carries; a worker carries them too unless ``AGENTS`` is off.
_AGENTS = frozenset({"heartbeat", "feeder", "rescuer", "scheduler", "pruner", "relay"})


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of a probe."""

    role: str
    is_moving: bool
    #: A sentence for each process, or for what is wrong.
    says: tuple[str, ...]


def answer(role: str, now: dt.datetime, *, name: str = "", stalled_after: dt.timedelta = STALLED) -> Answer:
    """Judge the processes of this host that play a role, or the one of that name wherever it is.

    ``name``: Celery's node name; without ``@host`` it is one of this host. Of several rows with one name the latest
    started counts: the others are what a killed predecessor left. ``web`` asks whether a web process could serve: the
    database answers, and its tables are there. Raises the database's own errors.
    """
    if role == "web":
        missing = unapplied_migrations(get_settings().database)
        says = f"migrations are not applied: {', '.join(missing)}" if missing else "the database answers"
        return Answer(role, not missing, (says,))
    sql = Sql(get_settings().database)
    found = _playing(role, _latest(_chosen(sql, name)))
    if not found:
        who = f"called {name!r}" if name else f"on {socket.gethostname()!r}"
        return Answer(role, False, (f"no {role} {who} is registered: it has not started, or is gone",))
    judged = [(process, _troubles(sql, role, process, now, stalled_after=stalled_after)) for process in found]
    wrong = [f"{process.role} {process.name}: {trouble}" for process, all_of in judged for trouble in all_of]
    return Answer(role, not wrong, tuple(wrong or (_moves(process, now) for process in found)))


def _chosen(sql: Sql, name: str) -> list[Process]:
    if "@" in name:
        return read_processes(sql, where="name = %s", params=[name])
    here = read_processes(sql, where="host = %s", params=[socket.gethostname()])
    return [process for process in here if not name or process.name.partition("@")[0] == name]


def _latest(processes: Sequence[Process]) -> list[Process]:
    found: dict[tuple[str, str], Process] = {}
    for process in processes:
        found.setdefault((process.role, process.name), process)
    return list(found.values())


def _playing(role: str, processes: Sequence[Process]) -> list[Process]:
    alone = [process for process in processes if process.role == role]
    if role != _SCHEDULER or alone:
        return alone
    return [process for process in processes if _SCHEDULER in process.agents]


def _troubles(sql: Sql, role: str, process: Process, now: dt.datetime, *, stalled_after: dt.timedelta) -> list[str]:
    agents = _AGENTS if role == _SCHEDULER else None
    waits = agents is None and process.is_idle and is_waited_for(sql, process, since=now - claims_take(stalled_after))
    return troubles(
        process, now, silent_after=get_settings().worker_timeout, stalled_after=stalled_after, agents=agents,
        is_waited_for=waits,
    )  # fmt: skip


def _moves(process: Process, now: dt.datetime) -> str:
    claimed = f", last job begun {duration(now - process.claimed_at)} ago" if process.claimed_at else ""
    moving = f"{len(process.agents)} agents turn" if process.agents else "its agents have not said anything yet"
    heartbeat = duration(now - process.heartbeat_at)
    return f"{process.role} {process.name}: heartbeat {heartbeat} ago, {moving}{claimed}"
