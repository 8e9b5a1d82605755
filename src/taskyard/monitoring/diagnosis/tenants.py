"""Which jobs wait because of their tenant: paused, limited, not ready?"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Iterator, Sequence

from taskyard.monitoring.diagnosis.finding import Finding, Level, ok, warn
from taskyard.monitoring.words import counted, duration
from taskyard.operations.acting.held import mend, why_held
from taskyard.outbox import queries
from taskyard.outbox.queries import Hold, NotEntered
from taskyard.settings import get_settings

#: So many tenants are named, those with the most jobs; the others are counted.
_NAMED = 5
#: What waits for a limit for less than this is on its way.
_PASSING = dt.timedelta(seconds=10)


def held(holds: Sequence[Hold], now: dt.datetime) -> Iterator[Finding]:
    """Tenants whose due jobs wait because somebody paused or limited them, the most jobs first."""
    for hold in holds[:_NAMED]:
        yield held_finding(hold, now)
    more = holds[_NAMED:]
    if more:
        jobs = sum(hold.due for hold in more)
        yield warn(
            "more tenants", f"{len(more):,} more are paused or limited, and {jobs:,} of their due jobs wait",
            fix="See all of them: taskyard status --json", facts={"tenants": len(more), "due": jobs},
        )  # fmt: skip


def held_finding(hold: Hold, now: dt.datetime) -> Finding:
    """One queue or tenant that is held back."""
    waits = now - (hold.oldest_due_at or now)
    since = f", the oldest for {duration(waits)}" if hold.oldest_due_at is not None else ""
    is_passing = not hold.is_stopped and waits < _PASSING
    fix = mend(hold)
    return Finding(
        f"{hold.kind} {hold.name}", Level.OK if is_passing else Level.WARN,
        f"{why_held(hold)}; {counted(hold.due, 'due job waits', more='due jobs wait')}{since}",
        f"{fix[0].upper()}{fix[1:]}",
        {
            "due": hold.due, "out": hold.out, "oldest_due_at": hold.oldest_due_at, "paused_at": hold.paused_at,
            "max_running": hold.max_running, "rate": hold.rate, "rate_seconds": hold.rate_seconds,
        },
    )  # fmt: skip


def not_ready() -> Iterator[Finding]:
    """Tenants that cannot be entered, and whose jobs wait for that."""
    if not get_settings().tenancy:
        return
    found = queries.not_entered(dt.datetime.now(dt.UTC))
    yield from map(_not_entered, found[:_NAMED])
    more = found[_NAMED:]
    if more:
        jobs = sum(one.waiting for one in more)
        yield warn(
            "more tenants", f"{len(more):,} more cannot be entered, and {jobs:,} of their jobs wait",
            fix="See all of them: taskyard status --json", facts={"tenants": len(more), "waiting": jobs},
        )  # fmt: skip
    if not found:
        yield ok("tenants", "no job waits for its tenant to be ready")


def _not_entered(one: NotEntered) -> Finding:
    wait = duration(get_settings().tenant_wait)
    name = shlex.quote(one.tenant)
    fixes = {
        "tenant-not-ready": "Its jobs run once TASKYARD['TENANTS'] (with schemas: its schema) says that it is ready, "
        f"looked at every {wait}; if it never will be: taskyard jobs cancel --tenant {name}",
        "tenant-unknown-yet": "The database that knows it, or its own, does not answer: bring it back.",
    }
    reason = str(one.error.get("reason"))
    what = one.error.get("message") or one.error.get("type")
    return warn(
        f"tenant {one.tenant}",
        f"{counted(one.waiting, 'job waits', more='jobs wait')} until it can be entered, the oldest since "
        f"{one.since:%Y-%m-%d %H:%M} UTC: {what}",
        fix=fixes.get(reason, fixes["tenant-not-ready"]),
        facts={"waiting": one.waiting, "reason": reason, "since": one.since, "again_at": one.again_at},
    )  # fmt: skip
