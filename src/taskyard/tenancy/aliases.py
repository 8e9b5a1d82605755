"""An alias in Django's ``connections`` for each tenant's database: a few at a time, however many tenants there are."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

#: No alias of a project's own has a colon in front of a tenant's name by accident.
PREFIX = "tenant:"
#: An alias used within this time stays: somebody may be between asking for it and connecting.
_LINGERS_SECONDS = 1.0


def alias_of(tenant: str) -> str:
    """The alias of a tenant's database, whether it is registered or not."""
    return PREFIX + tenant


def is_tenants(alias: str | None) -> bool:
    """Whether an alias is that of a tenant."""
    return alias is not None and alias.startswith(PREFIX)


@dataclasses.dataclass(slots=True)
class _Known:
    """One registered alias."""

    #: As the project gave them, to tell when it gives others.
    given: Mapping[str, Any]
    used_at: float


class _Recent(threading.local):
    """What one thread used, the least recently used first."""

    def __init__(self) -> None:
        #: With what the alias stood for when it was new here, to tell when it stands for something else.
        self.order: OrderedDict[str, Mapping[str, Any] | None] = OrderedDict()
        #: Of the aliases, as this thread last saw them.
        self.changes = 0


class Aliases:
    """The tenants' aliases of this process, and how many connections each of its threads keeps.

    A change puts a new dictionary in the place of ``connections.settings``, so that another thread going through it
    never sees it change. What no thread is connected to is forgotten beyond a bound, and registered again when needed:
    ask for an alias each time instead of keeping it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._wrappers: WeakSet[BaseDatabaseWrapper] = WeakSet()
        self._recent = _Recent()
        #: Held while a fork would be harmful, and while there is one.
        self.forking = threading.Lock()
        #: Grows with each alias that went or got other settings.
        self._changes = 0

    def after_fork(self) -> None:
        """In a child: its parent's other threads are gone, with whatever they held."""
        self._lock, self._wrappers, self.forking = threading.Lock(), WeakSet(), threading.Lock()

    def knows(self, alias: str) -> bool:
        """Whether the alias can be connected to."""
        return alias in self._known

    def register(self, alias: str, given: Mapping[str, Any], *, most: int) -> None:
        """Let the alias stand for these settings (as in ``DATABASES``) from now on; about ``most`` unused ones stay."""
        known = self._known.get(alias)
        if known is not None and known.given == given:
            known.used_at = time.monotonic()
            return
        configured = _configured(alias, given)
        with self._lock:
            gone = self._unused(len({*self._known, alias}) - most, but=alias)
            self._publish({**connections.settings, alias: configured}, gone)
            self._changes += alias in self._known
            # Last: a time limit may strike in between, and what is known must be there.
            self._known[alias] = _Known(copy.deepcopy(dict(given)), time.monotonic())

    def _unused(self, count: int, *, but: str) -> list[str]:
        if count <= 0:
            return []
        kept = {but} | {wrapper.alias for wrapper in self._wrappers if wrapper.connection is not None}
        until = time.monotonic() - _LINGERS_SECONDS
        # Copied, because other threads say meanwhile what they use.
        known = sorted((known.used_at, alias) for alias, known in list(self._known.items()))
        return [alias for used_at, alias in known if used_at < until and alias not in kept][:count]

    def forget(self, *aliases: str) -> None:
        """Nobody connects to them any more; without names, to any tenant. This thread's connections are closed."""
        with self._lock:
            self._publish(connections.settings, [*(aliases or self._known)])
        self._close_stale()

    def _publish(self, settings: Mapping[str, Any], gone: list[str]) -> None:
        for alias in gone:
            self._changes += self._known.pop(alias, None) is not None
        left = {alias: entry for alias, entry in settings.items() if alias not in gone}
        connections.settings = left

    def use(self, alias: str, *, keep: str, most: int) -> None:
        """This thread is about to use the alias; beyond ``most``, its least recently used connection is closed.

        One in a transaction stays open, and so does ``keep``. A query set that is still being read piece by piece
        (``iterator()``) breaks if that many other tenants are visited meanwhile.
        """
        recent, known = self._recent, self._known.get(alias)
        if known is not None:
            known.used_at = time.monotonic()
        if recent.changes != self._changes:
            self._close_stale()
        recent.order.setdefault(alias, connections.settings.get(alias))
        recent.order.move_to_end(alias)
        if len(recent.order) > most:
            for other in list(recent.order):
                if other not in (alias, keep) and len(recent.order) > most:
                    self._close(other)

    def recent(self) -> list[str]:
        """What this thread used, the least recently used first; whatever it is connected to is among it."""
        return list(self._recent.order)

    def opened(self, wrapper: BaseDatabaseWrapper) -> None:
        """A connection was made."""
        with self._lock:
            self._wrappers.add(wrapper)

    def _close_stale(self) -> None:
        recent, changes, settings = self._recent, self._changes, connections.settings
        stale = [alias for alias, stood in recent.order.items() if stood is None or settings.get(alias) is not stood]
        closed = [self._close(alias) for alias in stale]
        # What is in a transaction is looked at again.
        recent.changes = changes if all(closed) else -1

    def _close(self, alias: str) -> bool:
        if _is_in_event_loop():
            # What its thread has open is not seen from here: the next synchronous code sees to it.
            return False
        wrapper = _made(alias)
        if wrapper is not None:
            if _is_in_transaction(wrapper):
                return False
            with contextlib.suppress(DatabaseError, InterfaceError):
                wrapper.close()
            del connections[alias]
        self._recent.order.pop(alias, None)
        return True


def _configured(alias: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with everything filled in that Django fills in."""
    handler = ConnectionHandler({DEFAULT_DB_ALIAS: {}, alias: copy.deepcopy({**given})})
    filled: dict[str, Any] = handler.settings[alias]
    # Django would open a transaction on every registered tenant around every view.
    return {**filled, "ATOMIC_REQUESTS": False}


def _made(alias: str) -> BaseDatabaseWrapper | None:
    # Asking ``connections`` itself would make it.
    wrapper: BaseDatabaseWrapper | None = getattr(connections._connections, alias, None)  # type: ignore[attr-defined]
    return wrapper


def opened_here() -> list[BaseDatabaseWrapper]:
    """This thread's connections, without asking for each registered tenant whether it has one."""
    own = (alias for alias in connections if not alias.startswith(PREFIX))
    made = (_made(alias) for alias in (*own, *aliases.recent()))
    return [wrapper for wrapper in made if wrapper is not None]


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_in_transaction(wrapper: BaseDatabaseWrapper) -> bool:
    return wrapper.in_atomic_block or (wrapper.connection is not None and not wrapper.get_autocommit())


#: Those of this process.
aliases = Aliases()
os.register_at_fork(
    before=lambda: aliases.forking.acquire(), after_in_parent=lambda: aliases.forking.release(),
    after_in_child=aliases.after_fork,
)  # fmt: skip


@contextlib.contextmanager
def unforked(alias: str) -> Iterator[None]:
    """Within, this process does not fork, and at the end its connection is closed; for a tenant's SQLite file only.

    SQLite keeps in memory which locks its process holds. A child that was forked meanwhile takes them for its own and
    asks for none; somebody else then writes at the same time, and the file is ruined.
    """
    if not is_tenants(alias) or connections[alias].vendor != "sqlite":
        yield
        return
    with aliases.forking:
        try:
            yield
        finally:
            connections[alias].close()
