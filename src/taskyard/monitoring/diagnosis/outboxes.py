"""Do jobs stand in outboxes: what the relay knows, and on request a look into each of them."""

from __future__ import annotations

import datetime as dt
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import connections
from django.db.models import Count, Min

from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.troubles import KNOWN
from taskyard.monitoring.words import duration
from taskyard.outbox import queries
from taskyard.outbox.models import OutboxMessage
from taskyard.outbox.queries import OutboxView, RelayOverview
from taskyard.outbox.relay import alias_at, outboxes

#: So many are named; the others are counted.
_NAMED = 5
#: Outboxes that are looked into at once: one that does not answer must not hold up the others.
_LOOKERS = 4
#: A message that is younger is on its way.
_ON_ITS_WAY = dt.timedelta(seconds=30)
_START = "Start a worker or a scheduler: taskyard scheduler (workers bring a relay unless TASKYARD['AGENTS'] is False)."


def known() -> Iterator[Finding]:
    """What the relay saw when it looked last; no tenant's database is asked."""
    if not queries.has_outboxes():
        return
    now = dt.datetime.now(dt.UTC)
    overview = queries.relay_overview(now)
    yield _relay(overview, now)
    yield from _standing([note for note in overview.notes if note.waiting], now)
    yield from _failing([note for note in overview.notes if note.failing_since], now)


def _relay(overview: RelayOverview, now: dt.datetime) -> Finding:
    facts = {"is_acting": overview.is_acting, "outboxes": overview.outboxes, "round_ended_at": overview.round_ended_at}
    if not overview.is_acting:
        judge = fail if overview.waiting else warn
        says = "no relay acts: jobs that a process could not hand over itself stay in their outboxes"
        return judge("relay", says, fix=_START, facts=facts)
    if overview.outboxes is None or overview.round_began_at is None or overview.round_ended_at is None:
        return ok("relay", "acts, and has not been through all outboxes yet", facts=facts)
    took, ago = overview.round_ended_at - overview.round_began_at, now - overview.round_ended_at
    says = f"looked into all {overview.outboxes:,} outboxes in {duration(took)}, {duration(ago)} ago"
    return ok("relay", says, facts=facts)


def _standing(notes: Sequence[OutboxView], now: dt.datetime) -> Iterator[Finding]:
    if not notes:
        return
    waiting, unreadable = sum(note.waiting for note in notes), sum(note.unreadable for note in notes)
    oldest = min((note.oldest_at for note in notes if note.oldest_at), default=now)
    says = (
        f"{waiting:,} messages stood in {_count(len(notes))} when the relay looked last, the oldest written "
        f"{duration(now - oldest)} ago: {_named([f'{note.name} {note.waiting:,}' for note in notes])}"
    )
    fix = "The relay moves them, 500 at a time. If they do not get fewer, look at its log and at the database of jobs."
    if unreadable:
        says += f"; {unreadable:,} of them cannot be made jobs"
        fix = "The workers' log says why ('became no job'). A newer version may have written them: then update workers."
    facts = {"waiting": waiting, "unreadable": unreadable, "oldest_at": oldest, "outboxes": [n.name for n in notes]}
    is_passing = now - oldest < _ON_ITS_WAY and not unreadable
    yield ok("outboxes", says, facts=facts) if is_passing else warn("outboxes", says, fix=fix, facts=facts)


def _failing(notes: Sequence[OutboxView], now: dt.datetime) -> Iterator[Finding]:
    if not notes:
        return
    first = min(notes, key=lambda note: note.failing_since or now)
    since = now - (first.failing_since or now)
    yield warn(
        "outboxes away",
        f"the relay cannot look into {_count(len(notes))}: {_named([note.name for note in notes])}; "
        f"{first.name} for {duration(since)} ({first.error})",
        fix="Bring the database back, or let TASKYARD['TENANTS'] list the tenant no more; what stands there is safe "
        "and becomes jobs then. The relay tries again within ten minutes.",
        facts={"outboxes": [note.name for note in notes], "failing_since": first.failing_since, "error": first.error},
    )  # fmt: skip


class _Seen(NamedTuple):
    place: str
    waiting: int = 0
    oldest_at: dt.datetime | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """A tenant's name, or an alias."""
        return self.place.removeprefix(":")


def all_of_them(seconds: float) -> Iterator[Finding]:
    """Look into every outbox, a few at a time, for at most so many seconds."""
    places = list(outboxes())
    if not places:
        yield ok("all outboxes", "there is none")
        return
    seen = _look_into(places, seconds)
    standing = sorted((one for one in seen if one.waiting), key=lambda one: (-one.waiting, one.name))
    failed = [one for one in seen if one.error]
    waiting = sum(one.waiting for one in standing)
    oldest = min((one.oldest_at for one in standing if one.oldest_at), default=None)
    facts = {
        "outboxes": len(places), "looked_into": len(seen), "waiting": waiting, "oldest_at": oldest,
        "standing": {one.name: one.waiting for one in standing}, "failed": {one.name: one.error for one in failed},
    }  # fmt: skip
    says = _says(standing, waiting, oldest)
    if failed:
        says += f"; {_count(len(failed))} could not be looked into: {_named([f'{f.name} ({f.error})' for f in failed])}"
    if len(seen) < len(places):
        missing = len(places) - len(seen)
        says += f"; cut off after {duration(seconds)}: {missing:,} of {len(places):,} were not looked into"
        enough = math.ceil(seconds * 2 * len(places) / max(1, len(seen)))
        fix = f"Give it longer: taskyard doctor --outboxes {enough}"
        yield warn("all outboxes", says, fix=fix, facts=facts)
    elif failed or standing:
        fix = "A relay moves what stands; a database that is away has to be brought back." if failed else _START
        yield warn("all outboxes", says, fix=fix, facts=facts)
    else:
        yield ok("all outboxes", f"{len(places):,} looked into, nothing stands in them", facts=facts)


def _says(standing: Sequence[_Seen], waiting: int, oldest: dt.datetime | None) -> str:
    if not standing or oldest is None:
        return "nothing stands in those that were looked into"
    age = duration(dt.datetime.now(dt.UTC) - oldest)
    names = _named([f"{one.name} {one.waiting:,}" for one in standing])
    return f"{waiting:,} messages stand in {_count(len(standing))}, the oldest written {age} ago: {names}"


def _look_into(places: Sequence[str], seconds: float) -> list[_Seen]:
    """What could be seen in that time, in any order. A look that does not come back is left behind with its thread."""
    deadline = time.monotonic() + seconds
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[_Seen] = queue.SimpleQueue()
    for place in places:
        todo.put(place)
    for _ in range(min(_LOOKERS, len(places))):
        threading.Thread(target=_looker, args=(todo, done, deadline), daemon=True).start()
    seen: list[_Seen] = []
    while len(seen) < len(places):
        try:
            seen.append(done.get(timeout=max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            break
    return seen


def _looker(todo: queue.SimpleQueue[str], done: queue.SimpleQueue[_Seen], deadline: float) -> None:
    while time.monotonic() < deadline:
        try:
            place = todo.get_nowait()
        except queue.Empty:
            break
        seen = _Seen(place, error="TASKYARD['TENANTS'] raised an error of its own")
        try:
            seen = _look(place)
        finally:
            done.put(seen)
    connections.close_all()


def _look(place: str) -> _Seen:
    try:
        alias = alias_at(place)
        left = OutboxMessage.objects.using(alias).aggregate(waiting=Count("id"), oldest=Min("created_at"))
        connections[alias].close()
    except KNOWN as error:
        return _Seen(place, error=f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}")
    return _Seen(place, left["waiting"], left["oldest"])


def _count(number: int) -> str:
    return f"{number:,} {'outbox' if number == 1 else 'outboxes'}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
