"""The one thread per process and database that fetches messages and writes what became of them."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DataError, Error, IntegrityError

from taskyard.celery.broker import wakeup
from taskyard.celery.broker.bindings import Bindings
from taskyard.celery.broker.intake import Bell, Delivery, Intake, Receiver, Source, job_ids, message_ids
from taskyard.celery.broker.job_rows import Floors, JobRows, logical_name, urgency
from taskyard.celery.broker.store import Store, TablesMissing, is_missing_table, private_connection
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A message in hand is handed out again when its consumer has not renewed it for this long.
LEASE_SECONDS = 6.0
#: Longest time between two looks where notifications should tell: leases run out without anybody notifying.
_LOOK_SECONDS = 1.0
#: Clean-up of dead queues and expired messages.
_SWEEP_SECONDS = 30.0
#: The thread ends when there was nothing to do for it this long.
_LINGER_SECONDS = 2.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 5.0
_BATCH = 500
#: Events and replies kept while the database is away; beyond that the oldest are dropped.
_MOST_PENDING = 10_000


class Poller:
    """Fetches for all channels of this process, over a database connection of its own.

    Acknowledgements and returns are written in batches, in the order they were made. Errors of the database close
    its connection; it backs off and goes on, and what was to be written is kept.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.owner = uuid.uuid4()
        self.bell = Bell()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._intakes: list[Intake] = []
        self._acknowledged: deque[int] = deque()
        self._given_back: deque[Delivery] = deque()
        self._letters: deque[Callable[[], None]] = deque(maxlen=_MOST_PENDING)
        self._questions: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._watch: wakeup.Pauses | None = None
        self._must_reconcile = self._must_end = False
        self._next_renewal = self._idle_since = 0.0
        # Not by processes that are here for a moment only.
        self._next_sweep = time.monotonic() + random.uniform(2.0, 5.0)
        self._next_keep: dict[str, float] = {}
        self._floors: Floors = {}

    # Called by channels, from any thread.

    def attach(self, intake: Intake, owner: object) -> None:
        """Fetch for ``intake`` until :meth:`detach`, or until its ``owner`` is no more."""
        with self._lock:
            if intake not in self._intakes:
                self._intakes.append(intake)
                weakref.finalize(owner, self._abandon, intake).atexit = False
        self.wake()

    def detach(self, intake: Intake) -> None:
        """Fetch nothing more for it; what it had in hand must have been given back."""
        with self._lock, contextlib.suppress(ValueError):
            self._intakes.remove(intake)

    def wake(self) -> None:
        """Look now; starts the thread if it is not there."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=f"taskyard-broker-{self.alias}", daemon=True)
                self._idle_since, self._next_renewal, self._must_end = time.monotonic(), 0.0, False
                self._thread.start()
        self.bell.ring()

    def nudge(self) -> None:
        """Look now if somebody consumes here: this process has just written what one may want."""
        if self._thread is not None:
            self.bell.ring()

    def stop(self, timeout: float = 5.0) -> None:
        """Write what is to be written, give everything back and end; it starts again when it is needed."""
        for intake in list(self._intakes):
            self.give_back(intake.close())
        thread = self._thread
        if thread is not None:
            self._must_end = True
            self.bell.ring()
            thread.join(timeout)

    def acknowledge(self, delivery: Delivery) -> None:
        """The message is done with. A job needs no statement: its row says what became of it."""
        if delivery.message_id is not None:
            self._acknowledged.append(delivery.message_id)
        self.wake()

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let others have these."""
        if deliveries:
            self._given_back.extend(deliveries)
            self.wake()

    def later(self, letter: Callable[[], None]) -> None:
        """Run a write soon, in order, and again until the database takes it."""
        self._letters.append(letter)
        self.wake()

    def ask(self, action: Callable[[], T], timeout: float = 10.0) -> T:
        """Run ``action`` in the poller's thread, after all writes asked for before; its result, or its error."""
        if threading.current_thread() is self._thread:
            return action()
        future: Future[T] = Future()
        self._questions.append((action, future))
        self.wake()
        return future.result(timeout)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything asked for so far is written; False if the database did not take it in time."""
        try:
            self.ask(lambda: None, timeout)
        except (TimeoutError, Error, TablesMissing):
            return False
        return True

    def _abandon(self, intake: Intake) -> None:
        # A channel was dropped without close(); runs wherever the garbage collector does, so no locks of ours here.
        self._given_back.extend(intake.close())
        with contextlib.suppress(ValueError):
            self._intakes.remove(intake)
        self.bell.ring()

    # In the thread.

    def _run(self) -> None:
        failures = 0
        while not self._may_end():
            try:
                self._round()
                failures = 0
            except Exception as error:
                self._recover(error, failures)
                failures += 1
        self._hang_up()

    def _may_end(self) -> bool:
        with self._lock:
            if self._has_work():
                self._idle_since = time.monotonic()
            elif self._must_end or time.monotonic() - self._idle_since > _LINGER_SECONDS:
                # The next thread may start at once: nothing of this one may be left behind.
                self._thread = self._watch = None
                return True
            return False

    def _has_work(self) -> bool:
        pending = (self._acknowledged, self._given_back, self._letters, self._questions)
        return any(pending) or any(not intake.is_idle() for intake in self._intakes)

    def _round(self) -> None:
        watch = self._connected()
        self._write()
        self._renew()
        self._sweep()
        watch.mark()
        if self._fetch():
            watch.found()
        queues = {source.queue for intake in self._intakes if intake.room() for source in intake.sources()}
        if not self._is_pending():
            self._wait(watch, queues)

    def _is_pending(self) -> bool:
        return bool(self._acknowledged or self._given_back or self._letters or self._questions)

    def _wait(self, watch: wakeup.Pauses, queues: set[str]) -> None:
        now = time.monotonic()
        due = [self._next_sweep, *self._next_keep.values()]
        if any(intake.held() for intake in self._intakes):
            due.append(self._next_renewal)
        if not self._has_work():
            due.append(self._idle_since + _LINGER_SECONDS + 0.01)
        limit = max(0.0, min(due) - now)
        if queues:
            watch.wait(min(limit, _LOOK_SECONDS), queues)
        else:
            self.bell.wait(limit)

    def _connected(self) -> wakeup.Pauses:
        if self._watch is None:
            connection = private_connection(self.alias)
            connections[self.alias] = connection
            connection.ensure_connection()
            _open_here.add(connection)
            self._watch = wakeup.for_connection(connection, self.bell)
        if self._must_reconcile:
            held = [delivery for intake in list(self._intakes) for delivery in intake.held()]
            back = list(self._given_back)
            Store(self.alias).release_others([*message_ids(held), *message_ids(back), *self._acknowledged], self.owner)
            if self._has_jobs():
                JobRows(self.alias).release_others([*job_ids(held), *job_ids(back)])
            self._must_reconcile = False
        return self._watch

    def _hang_up(self) -> None:
        connection = connections[self.alias]
        with contextlib.suppress(Error):
            connection.close()
        _open_here.discard(connection)

    def _recover(self, error: Exception, failures: int) -> None:
        seconds = min(_FIRST_BACKOFF * 2**failures, _LONGEST_BACKOFF) * random.uniform(0.5, 1.0)
        reason = TablesMissing(self.alias) if is_missing_table(error) else error
        is_known = isinstance(error, (Error, OSError))
        level = logging.WARNING if failures < 3 and is_known else logging.ERROR
        logger.log(level, "Database broker: %s; going on in %.1f s", reason, seconds, exc_info=not is_known)
        self._must_reconcile = True
        self._watch = None
        self._hang_up()
        threading.Event().wait(seconds)

    def _has_jobs(self) -> bool:
        return self.alias == get_settings().database

    def _write(self) -> None:
        store = Store(self.alias)
        _in_batches(self._given_back, self._write_back)
        _in_batches(self._acknowledged, lambda ids: store.delete(ids, self.owner))
        _in_batches(self._letters, _post, size=1)
        while self._questions:
            action, future = self._questions.popleft()
            _answer(action, future)

    def _write_back(self, batch: list[Delivery]) -> None:
        if messages := message_ids(batch):
            Store(self.alias).release(messages, self.owner)
        if jobs := job_ids(batch):
            JobRows(self.alias).release(jobs)

    def _renew(self) -> None:
        now = time.monotonic()
        if now >= self._next_renewal:
            self._next_renewal = now + LEASE_SECONDS / 3
            held = deque(message_ids(d for intake in list(self._intakes) for d in intake.held()))
            _in_batches(held, lambda ids: Store(self.alias).renew(ids, owner=self.owner, lease=LEASE_SECONDS))
        kept: dict[str, float] = {}
        for intake in list(self._intakes):
            for source in intake.sources():
                self._keep(intake, source, now, kept)
        self._next_keep = kept

    def _keep(self, intake: Intake, source: Source, now: float, kept: dict[str, float]) -> None:
        lifetimes = [b.lifetime for b in intake.mailbox.bindings() if b.queue == source.queue and b.lifetime]
        if not lifetimes:
            return
        kept[source.queue] = self._next_keep.get(source.queue, 0.0)
        if now >= kept[source.queue]:
            Bindings(self.alias).keep(source.queue, intake.mailbox.bindings())
            kept[source.queue] = now + min(lifetimes) / 3

    def _sweep(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            # Spread, so that many workers do not sweep in step.
            self._next_sweep = now + _SWEEP_SECONDS * random.uniform(0.8, 1.2)
            Bindings(self.alias).sweep()
            Store(self.alias).sweep()

    def _fetch(self) -> int:
        hungry = [intake for intake in list(self._intakes) if intake.room()]
        messages = sorted({source.queue for intake in hungry for source in intake.sources()})
        if not messages:
            return 0
        jobs = [queue for queue in messages if self._has_jobs() and logical_name(queue) is not None]
        store, rows = Store(self.alias), JobRows(self.alias, self._floors)
        answers = store.ready([*map(store.is_ready, messages), *map(rows.is_ready, jobs)])
        has_messages = {queue for queue, answer in zip(messages, answers, strict=False) if answer}
        has_jobs = {queue for queue, answer in zip(jobs, answers[len(messages) :], strict=True) if answer}
        found = 0
        for intake in hungry if has_messages or has_jobs else []:
            for source in sorted(intake.sources(), key=lambda source: urgency(source.queue)):
                if source.queue in has_messages and (room := intake.room()):
                    found += self.take_messages(intake, source, limit=room)
                if source.queue in has_jobs and (room := intake.room()):
                    found += self.take_jobs(intake, source, limit=room)
        return found

    def take_messages(self, intake: Receiver, source: Source, *, limit: int) -> int:
        """Fetch rows of the message table for a consumer; how many. In the poller's thread only."""
        taken = Store(self.alias).take(source.queue, limit, owner=self.owner, lease=LEASE_SECONDS)
        for message in taken:
            try:
                raw = message.as_raw()
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                logger.warning(
                    "Database broker: unreadable message %s in %r is dropped: %s", message.id, source.queue, error
                )
                self._acknowledged.append(message.id)
                continue
            self._hand_in(intake, source, Delivery(source.consumer_tag, raw, message_id=message.id))
        return len(taken)

    def take_jobs(self, intake: Receiver, source: Source, *, limit: int) -> int:
        """Fetch queued jobs for a consumer; how many. In the poller's thread only."""
        taken = JobRows(self.alias, self._floors).take(source.queue, limit)
        for job_id, raw in taken:
            self._hand_in(intake, source, Delivery(source.consumer_tag, raw, job_id=job_id))
        return len(taken)

    def _hand_in(self, intake: Receiver, source: Source, delivery: Delivery) -> None:
        delivery.raw["properties"]["delivery_tag"] = delivery.tag
        if not intake.accept(source, delivery):
            self._given_back.append(delivery)
        elif source.no_ack and delivery.message_id is not None:
            self._acknowledged.append(delivery.message_id)


def _in_batches(pending: deque[T], write: Callable[[list[T]], Any], size: int = _BATCH) -> None:
    # What was not written stays in the queue; others append to it meanwhile.
    while pending:
        batch = [pending[index] for index in range(min(len(pending), size))]
        write(batch)
        for _ in batch:
            pending.popleft()


def _post(letters: list[Callable[[], None]]) -> None:
    for letter in letters:
        try:
            letter()
        except (DataError, IntegrityError) as error:
            logger.error("Database broker: a message the database refuses is dropped: %s", error)  # noqa: TRY400


def _answer(action: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(action())
    except (Error, TablesMissing) as error:
        future.set_exception(error)
        raise


#: Open connections of pollers. After a fork the child keeps them here untouched, for to drop one may hang up for the
#: parent as well.
_open_here: set[BaseDatabaseWrapper] = set()
_pollers: dict[str, Poller] = {}
_parents_pollers: list[dict[str, Poller]] = []
_registry_lock = threading.Lock()


def poller_for(alias: str) -> Poller:
    """This process's poller for a database."""
    with _registry_lock:
        if alias not in _pollers:
            _pollers[alias] = Poller(alias)
        return _pollers[alias]


def _after_fork() -> None:
    global _pollers, _registry_lock
    _parents_pollers.append(_pollers)
    _pollers, _registry_lock = {}, threading.Lock()


def _at_exit() -> None:
    for poller in list(_pollers.values()):
        poller.stop(2.0)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
