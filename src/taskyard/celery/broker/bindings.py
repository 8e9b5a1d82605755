"""Which queues a message goes to: bindings of queues to exchanges, kept in the database."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from django.db import connections
from kombu.transport.virtual.exchange import TopicExchange

from taskyard.celery.broker.store import LATER, NOW, Store, marks

TABLE = "taskyard_binding"

#: Seconds a message waits in a queue nobody declared: a reply to somebody who has left, most likely.
_UNDECLARED_TTL = 86400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """A binding as this process declared it."""

    queue: str
    exchange: str = ""
    kind: str = "direct"
    routing_key: str = ""
    #: Seconds.
    message_ttl: float | None = None
    #: Seconds without a consumer after which the queue goes, with its messages; None: it stays.
    lifetime: float | None = None
    #: Goes with its consumer (``auto_delete``, ``exclusive``).
    is_transient: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it unique."""
        return self.exchange, self.routing_key, self.queue


@lru_cache(maxsize=1024)
def _pattern(routing_key: str) -> re.Pattern[str]:
    return re.compile(TopicExchange(None).key_to_pattern(routing_key))


def does_match(kind: str, bound_key: str, *, routing_key: str) -> bool:
    """Whether a binding of this kind wants a message with this routing key; topics as kombu matches them."""
    if kind == "fanout":
        return True
    if kind == "topic":
        return _pattern(bound_key).match(routing_key) is not None
    return bound_key == routing_key


class Bindings:
    """Statements on the bindings of one alias, on the calling thread's connection."""

    def __init__(self, alias: str) -> None:
        self.store = Store(alias)
        vendor = connections[alias].vendor
        self.now, self.later = NOW[vendor], LATER[vendor]
        self._insert = "INSERT IGNORE INTO" if vendor == "mysql" else "INSERT INTO"
        self._conflict = "" if vendor == "mysql" else " ON CONFLICT DO NOTHING"

    def ensure(self, wanted: Sequence[Bound]) -> None:
        """Make sure they exist, permanent where wanted so, else for their lifetime from now."""
        queues = sorted({bound.queue for bound in wanted})
        known = {
            (row[0], row[1], row[2]): row[3]
            for row in self.store.rows(
                f"SELECT exchange, routing_key, queue, expires_at FROM {TABLE} WHERE queue IN ({marks(queues)})",
                queues,
            )
        }
        for bound in wanted:
            if bound.key not in known:
                self._add(bound)
            elif bound.lifetime is not None or known[bound.key] is not None:
                self._extend("exchange = %s AND routing_key = %s AND queue = %s", bound.key, bound.lifetime)

    def keep(self, queue: str, bindings: Iterable[Bound]) -> None:
        """Renew a temporary queue for its consumer; what somebody swept away meanwhile is made again."""
        mine = [bound for bound in bindings if bound.queue == queue]
        if mine and self._extend("queue = %s", [queue], mine[0].lifetime) < len(mine):
            self.ensure(mine)

    def routes(self, exchange: str, routing_key: str, *, own: Iterable[Bound] = ()) -> list[tuple[str, float | None]]:
        """Queues a message goes to, each with the seconds it may wait there.

        ``own`` are permanent bindings this process declared: should their rows be gone (a rolled-back transaction, a
        flushed table), they are written again.
        """
        if not exchange:
            return [(routing_key, self._ttl_of(routing_key))]
        rows = self.store.rows(
            f"SELECT routing_key, queue, kind, message_ttl FROM {TABLE}"
            f" WHERE exchange = %s AND (expires_at IS NULL OR expires_at > {self.now})",
            [exchange],
        )
        present = {(row[0], row[1]) for row in rows}
        gone = [bound for bound in own if (bound.routing_key, bound.queue) not in present]
        if gone:
            self.ensure(gone)
            rows += [(bound.routing_key, bound.queue, bound.kind, bound.message_ttl) for bound in gone]
        wanted = {queue: ttl for key, queue, kind, ttl in rows if does_match(kind, key, routing_key=routing_key)}
        return list(wanted.items())

    def _ttl_of(self, queue: str) -> float | None:
        found = self.store.rows(f"SELECT message_ttl FROM {TABLE} WHERE exchange = '' AND queue = %s", [queue])
        return found[0][0] if found else _UNDECLARED_TTL

    def exists(self, queue: str) -> bool:
        """Whether somebody declared it."""
        return bool(self.store.rows(f"SELECT 1 FROM {TABLE} WHERE queue = %s LIMIT 1", [queue]))

    def has_exchange(self, exchange: str) -> bool:
        """Whether any queue is bound to it."""
        return bool(self.store.rows(f"SELECT 1 FROM {TABLE} WHERE exchange = %s LIMIT 1", [exchange]))

    def remove(self, exchange: str, routing_key: str, *, queue: str) -> None:
        """Undo one binding."""
        self.store.execute(
            f"DELETE FROM {TABLE} WHERE exchange = %s AND routing_key = %s AND queue = %s",
            [exchange, routing_key, queue],
        )

    def remove_exchange(self, exchange: str) -> None:
        """Undo all bindings to it; the queues stay."""
        self.store.execute(f"DELETE FROM {TABLE} WHERE exchange = %s", [exchange])

    def remove_queue(self, queue: str) -> int:
        """Delete a queue, its bindings and its messages; how many messages."""
        self.store.execute(f"DELETE FROM {TABLE} WHERE queue = %s", [queue])
        return self.store.execute("DELETE FROM taskyard_message WHERE queue = %s", [queue])

    def sweep(self) -> int:
        """Delete queues whose consumer has gone, with their messages; how many queues."""
        expired = self.store.rows(
            f"SELECT queue FROM {TABLE} WHERE expires_at IS NOT NULL"
            f" GROUP BY queue HAVING MAX(expires_at) <= {self.now} LIMIT 500",
            [],
        )
        dead = [row[0] for row in expired]
        if dead:
            self.store.execute(f"DELETE FROM {TABLE} WHERE queue IN ({marks(dead)}) AND expires_at <= {self.now}", dead)
            self.store.execute(
                f"DELETE FROM taskyard_message WHERE queue IN ({marks(dead)})"
                f" AND NOT EXISTS (SELECT 1 FROM {TABLE} b WHERE b.queue = taskyard_message.queue)",
                dead,
            )
        return len(dead)

    def _add(self, bound: Bound) -> None:
        self.store.execute(
            f"{self._insert} {TABLE} (exchange, routing_key, queue, kind, message_ttl, expires_at)"
            f" VALUES (%s, %s, %s, %s, %s, {self.later}){self._conflict}",
            [*bound.key, bound.kind, bound.message_ttl, bound.lifetime],
        )

    def _extend(self, where: str, params: Sequence[Any], lifetime: float | None) -> int:
        return self.store.execute(
            f"UPDATE {TABLE} SET expires_at = {self.later} WHERE {where}",
            [lifetime, *params],
        )
