"""What operators said of a queue or a tenant that keeps jobs waiting, in words, with the command that mends it."""

from __future__ import annotations

import shlex
from typing import Any

from taskyard.jobs.detail import HeldBack
from taskyard.outbox.queries import Hold, find_holds

#: How a limit is taken away.
NONE = "none"


def paused_because(row: Any, what: str) -> str:
    """Who paused a queue or tenant, when and why, in one sentence."""
    by = f" by {row.paused_by}" if row.paused_by else ""
    why = f": {row.reason}" if row.reason else ""
    return f"{what} {row.name!r} is paused since {row.paused_at:%Y-%m-%d %H:%M} UTC{by}{why}"


def held_back(queue: str, tenant: str, *, is_operator: bool = True) -> HeldBack:
    """What holds back jobs of this queue and tenant. A tenant is not told how much of a queue others have out."""
    holds = find_holds(queue, tenant)
    stopped = [_told(hold, is_operator) for hold in holds if hold.is_stopped]
    limited = [_told(hold, is_operator) for hold in holds if hold.is_holding and (is_operator or hold.kind == "tenant")]
    return HeldBack(stopped="".join(stopped[:1]), limited="".join(limited[:1]))


def _told(hold: Hold, is_operator: bool) -> str:
    return f"{why_held(hold)}; {mend(hold)}" if is_operator else why_held(hold)


def why_held(hold: Hold) -> str:
    """Why jobs of a queue or a tenant wait, as a sentence without its end."""
    who = f"{hold.kind} {hold.name!r}"
    if hold.paused_at is not None:
        return paused_because(hold, hold.kind)
    if hold.max_running == 0:
        return f"{who} is limited to no jobs at a time"
    if hold.is_full:
        return f"{who} has {hold.out:,} of at most {hold.max_running:,} jobs running or in the broker"
    return f"{who} is limited to {hold.rate:g} starts in {hold.rate_seconds:g} s"


def mend(hold: Hold) -> str:
    """The command that lets it go on, as a sentence without its end."""
    name = shlex.quote(hold.name)
    if hold.paused_at is not None:
        return f"when it may go on: taskyard {hold.kind}s resume {name}"
    if hold.is_full:
        return f"to allow more: taskyard {hold.kind}s limit {name} --max-running N (or {NONE})"
    return f"to allow more: taskyard {hold.kind}s limit {name} --rate N --per {hold.rate_seconds:g} (or --rate {NONE})"
