"""What the relay writes down for people: outboxes in which messages stand, and those that it cannot look into."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any

from django.db.models import Count, Min, Q

from taskyard.outbox.models import OutboxMessage, OutboxNote, RelayRound
from taskyard.settings import get_settings

#: How often what has not got better or worse is written again, and counted again where it is being worked off.
_EVERY = dt.timedelta(seconds=10)
_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """One look into an outbox."""

    #: An alias, or ``:`` and a tenant's name; and the alias of that.
    place: str
    alias: str
    #: Messages read.
    found: int
    #: Whether there may be more than were read.
    is_full: bool


class Notes:
    """The notes of the relay that acts: while all is well a line every ten seconds, and nothing for each outbox.

    A look that found nothing, where nothing was wrong, costs no statement.
    """

    def __init__(self) -> None:
        self._notes: dict[str, OutboxNote] | None = None
        self._began: tuple[dt.datetime, int] | None = None
        self._round_written_at = _NEVER

    def forget(self) -> None:
        """Another relay acts, or acted meanwhile: its notes are read when they are needed."""
        self._notes, self._began = None, None

    def round_begins(self, places: Collection[str], now: dt.datetime) -> None:
        """Every outbox was looked into since the last call, and these come next."""
        if self._began is not None and now - self._round_written_at >= _EVERY:
            began_at, count = self._began
            self._round_written_at = now
            values = {"outboxes": count, "began_at": began_at, "ended_at": now}
            RelayRound.objects.using(get_settings().database).update_or_create(id=1, defaults=values)
        self._began = now, len(places)
        known = self._read()
        if known:
            listed = set(places)
            self._drop([place for place in known if place not in listed])

    def looked(self, look: Look, unreadable: Collection[uuid.UUID], *, now: dt.datetime) -> None:
        """Count what is left in an outbox, where a message was found or something was wrong before."""
        note = self._read().get(look.place)
        if not look.found and note is None:
            return
        is_fresh = note is not None and note.failing_since is None and now - (note.seen_at or _NEVER) < _EVERY
        if look.is_full and is_fresh:
            # A large backlog is not counted anew after each batch of it.
            return
        left = OutboxMessage.objects.using(look.alias).aggregate(
            waiting=Count("id"), oldest_at=Min("created_at"), unreadable=Count("id", filter=Q(id__in=list(unreadable)))
        )
        if not left["waiting"]:
            self._drop([look.place])
        elif not is_fresh or note is None or (note.waiting, note.unreadable) != (left["waiting"], left["unreadable"]):
            self._write(look.place, **left, seen_at=now, failing_since=None, error="", again_at=None)

    def failed(self, place: str, error: Exception, *, now: dt.datetime, again_at: dt.datetime) -> None:
        """It could not be looked into; what was seen there before is kept."""
        note = self._read().get(place)
        since = note.failing_since if note is not None and note.failing_since is not None else now
        says = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
        self._write(place, failing_since=since, error=says[:500], again_at=again_at)

    def _read(self) -> dict[str, OutboxNote]:
        if self._notes is None:
            self._notes = {note.place: note for note in OutboxNote.objects.using(get_settings().database)}
        return self._notes

    def _write(self, place: str, **values: Any) -> None:
        rows = OutboxNote.objects.using(get_settings().database)
        self._read()[place], _ = rows.update_or_create(place=place, defaults=values)

    def _drop(self, places: Collection[str]) -> None:
        known = self._read()
        gone = [place for place in places if place in known]
        if gone:
            OutboxNote.objects.using(get_settings().database).filter(place__in=gone).delete()
            for place in gone:
                del known[place]
