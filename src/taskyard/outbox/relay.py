"""Moves outbox messages from the databases they were written in to the one where jobs live.

A message becomes a job, or is otherwise taken, once: the job and a :class:`~taskyard.outbox.models.RelayedMessage` with
the message's id are written in one transaction, only then is the message deleted, and the marker stays for an hour
longer. Whoever dies between any two of these steps leaves something that the next relay completes; that the job has run
or was pruned meanwhile changes nothing. Limit: a relay that stands still for an hour between reading a message and
writing its job, or a tenant's database restored from a backup, brings back messages whose markers are gone. Their jobs
run again if they were pruned, too.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, transaction

from taskyard.errors import ConfigurationError, TaskyardError, TenantNotReady, UnknownTenant
from taskyard.jobs.rows.newjob import NewJob
from taskyard.outbox.models import OutboxMessage, RelayedMessage
from taskyard.outbox.notes import Look, Notes
from taskyard.outbox.payload import Notice, UnreadableMessage, read_payload
from taskyard.runtime.faults import fault_point
from taskyard.runtime.lease import Leases
from taskyard.settings import get_settings
from taskyard.tenancy.aliases import alias_of, aliases, unforked
from taskyard.tenancy.context import find_tenancy
from taskyard.tenancy.databases import database_of

logger = logging.getLogger(__name__)

#: Its owner looks into the outboxes.
LEASE_NAME = "relay"
#: Messages of one transaction.
BATCH = 500
#: Databases looked into in one turn, one turn a second: a message whose process died right after its commit waits
#: for at most a tenth of a second for each ready tenant.
LOOKS = 10
_PAUSE = dt.timedelta(seconds=1)
#: How long a marker outlives its message.
_MARKER = dt.timedelta(hours=1)
#: A database that could not be looked into is left alone for this long, twice as long each time up to the second.
_REST, _LONGEST_REST = dt.timedelta(seconds=10), dt.timedelta(minutes=10)
#: A database that cannot be reached, or settings of it with which nobody could.
_AWAY = (DatabaseError, InterfaceError, ConfigurationError, ImproperlyConfigured)
#: Messages this process could not read; others may be able to, and a person sees them in the log.
_unreadable: deque[uuid.UUID] = deque(maxlen=1000)


@dataclasses.dataclass(frozen=True, slots=True)
class Intake:
    """How messages become jobs: given, because the one way in is above this room."""

    #: Within the transaction; the ids of the jobs that are new.
    write: Callable[[Sequence[NewJob], str], Iterable[uuid.UUID]]
    #: Raises :class:`~taskyard.errors.TaskyardError` for jobs whose ids were relayed before, if as another tenant's.
    refuse: Callable[[Sequence[NewJob], str], None]
    #: After it, when the messages are gone.
    set_off: Callable[[Sequence[uuid.UUID], str], None]
    #: Within a transaction: what is no job.
    take: Callable[[Notice], None]


def relay(alias: str, intake: Intake, now: dt.datetime) -> int:
    """Move one batch, in order of writing; how many messages were read. Never within a transaction of either database.

    Raises what the databases raise; calling it again is always safe.
    """
    outbox = OutboxMessage.objects.using(alias)
    waiting = outbox.exclude(id__in=list(_unreadable)) if _unreadable else outbox
    rows = list(waiting.order_by("created_at", "id").values_list("id", "payload")[:BATCH])
    messages = [(row[0], read) for row in rows if (read := _read(*row, alias=alias)) is not None]
    if not messages:
        return len(rows)
    control = get_settings().database
    jobs = [message for _, message in messages if isinstance(message, NewJob)]
    written = _write_surely(jobs, intake, control=control) if jobs else []
    for message_id, message in messages:
        if isinstance(message, Notice):
            _take_surely(message_id, message, intake=intake)
    fault_point("relay.written")
    gone = [message_id for message_id, _ in messages if message_id not in _unreadable]
    outbox.filter(id__in=gone)._raw_delete(alias)
    RelayedMessage.objects.using(control).filter(id__in=gone).update(left_at=now)
    if written:
        intake.set_off(written, control)
    return len(rows)


def _read(message_id: uuid.UUID, payload: str, *, alias: str) -> NewJob | Notice | None:
    try:
        message = read_payload(payload)
        if isinstance(message, NewJob) and message.id != message_id:
            raise UnreadableMessage(f"it is of job {message.id}")
    except UnreadableMessage as error:
        _set_aside(message_id, error, alias=alias)
        return None
    return message


def _set_aside(message_id: uuid.UUID, error: Exception, *, alias: str) -> None:
    logger.error("outbox message %s in %r became no job: %s", message_id, alias, error)
    _unreadable.append(message_id)


def _write_surely(jobs: Sequence[NewJob], intake: Intake, *, control: str) -> list[uuid.UUID]:
    try:
        return _write(jobs, intake, control=control)
    except (DataError, IntegrityError, TaskyardError):
        # One of them cannot be written, or another relay writes one of them now: each by itself.
        if len(jobs) > 1:
            return [one for job in jobs for one in _write_surely([job], intake, control=control)]
    try:
        return _write(jobs, intake, control=control)
    except (DataError, IntegrityError, TaskyardError) as error:
        _set_aside(jobs[0].id, error, alias=control)
        return []


def _write(jobs: Sequence[NewJob], intake: Intake, *, control: str) -> list[uuid.UUID]:
    markers = RelayedMessage.objects.using(control)
    with transaction.atomic(using=control, durable=True):
        done = set(markers.filter(id__in=[job.id for job in jobs]).values_list("id", flat=True))
        intake.refuse([job for job in jobs if job.id in done], control)
        fresh = [job for job in jobs if job.id not in done]
        if not fresh:
            return []
        # Not "unless it exists": where two relays write the same marker, one of them writes nothing.
        markers.bulk_create([RelayedMessage(id=job.id) for job in fresh])
        return list(intake.write(fresh, control))


def _take_surely(message_id: uuid.UUID, notice: Notice, *, intake: Intake) -> None:
    control = get_settings().database
    try:
        try:
            _take(message_id, notice, intake=intake)
        except IntegrityError:
            # Another relay takes it now: then it is done.
            _take(message_id, notice, intake=intake)
    except (DataError, IntegrityError, TaskyardError, KeyError, TypeError, ValueError) as error:
        _set_aside(message_id, error, alias=control)


def _take(message_id: uuid.UUID, notice: Notice, *, intake: Intake) -> None:
    control = get_settings().database
    markers = RelayedMessage.objects.using(control)
    with transaction.atomic(using=control, durable=True):
        if not markers.filter(id=message_id).exists():
            markers.bulk_create([RelayedMessage(id=message_id)])
            intake.take(notice)


def outboxes() -> Iterator[str]:
    """Where messages may stand: aliases, and ``:`` and the name of each ready tenant with a database of its own."""
    settings = get_settings()
    yield from settings.outbox_databases
    tenancy = find_tenancy() if settings.tenancy == "databases" else None
    # With a colon, as no alias of a project's own begins; told apart from it by that.
    yield from (f":{name}" for name in (tenancy.ready() if tenancy else ()))


def alias_at(place: str) -> str:
    """The alias of one of them; raises as :func:`~taskyard.tenancy.databases.database_of` does."""
    return database_of(place[1:]) if place.startswith(":") else place


class Relay:
    """Looks into every outbox, a few each turn: what the process that committed a message did not relay itself."""

    name = "relay"
    channels: Sequence[str] = ()

    def __init__(self, owner: uuid.UUID, intake: Intake) -> None:
        self.intake = intake
        self._leases = Leases(owner)
        self._ahead: deque[str] = deque()
        #: Where the last look found messages: there may be more.
        self._busy: list[str] = []
        self._resting: dict[str, tuple[dt.datetime, dt.timedelta]] = {}
        self._swept_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._notes = Notes()

    def run_once(self, now: dt.datetime) -> int:
        """Look into some outboxes, if nobody else does; how many messages were found."""
        standing = self._leases.hold(LEASE_NAME, now)
        if standing != "held":
            self._notes.forget()
        if not standing:
            return 0
        if now - self._swept_at > dt.timedelta(minutes=1):
            self._swept_at = now
            _forget_markers(now)
        found, busy, self._busy = 0, self._busy, []
        for place in itertools.chain(busy, self._next(LOOKS, now, but=busy)):
            count = self._look(place, now)
            if count:
                self._busy.append(place)
            found += count
        return found

    def _next(self, count: int, now: dt.datetime, *, but: Collection[str]) -> Iterator[str]:
        # One by one: an error of the project's own about one tenant must not pass over those that come after it.
        if not self._ahead:
            self._ahead.extend(outboxes())
            self._notes.round_begins(self._ahead, now)
            # Those that are no longer listed are not remembered either.
            self._resting = {place: self._resting[place] for place in self._ahead if place in self._resting}
        for _ in range(min(count, len(self._ahead))):
            place = self._ahead.popleft()
            if place not in but:
                yield place

    def _look(self, place: str, now: dt.datetime) -> int:
        until, rest = self._resting.get(place, (now, _REST))
        if until > now:
            return 0
        try:
            alias = alias_at(place)
            with unforked(alias):
                count = relay(alias, self.intake, now)
            self._notes.looked(Look(place, alias, count, is_full=count >= BATCH), _unreadable, now=now)
        except (*_AWAY, TenantNotReady, UnknownTenant) as error:
            # One database that is away must not hold up the others; if it is the one of jobs, the lease says so.
            logger.warning("the outbox of %s cannot be looked into: %s", place.lstrip(":"), error)
            self._resting[place] = now + rest, min(rest * 2, _LONGEST_REST)
            if place.startswith(":"):
                # It may have moved: the project is asked again where it is.
                aliases.forget(alias_of(place[1:]))
            self._notes.failed(place, error, now=now, again_at=now + rest)
            return 0
        self._resting.pop(place, None)
        return count

    def pause(self, done: int, *, is_deaf: bool) -> dt.timedelta:
        """On at once while batches are full."""
        return dt.timedelta(milliseconds=10) if done >= BATCH else _PAUSE

    def interrupted(self) -> None:
        """Looking again is harmless."""
        self._notes.forget()

    def stop(self) -> None:
        """Let another one look."""
        self._leases.release_all()


def _forget_markers(now: dt.datetime) -> None:
    alias = get_settings().database
    RelayedMessage.objects.using(alias).filter(left_at__lt=now - _MARKER)._raw_delete(alias)
