"""Statements of the hot path on PostgreSQL, parsed and planned once per connection.

Django puts the values into the text of a statement, so that PostgreSQL parses and plans each one anew, which costs
more than running it; and a cursor costs more than both ends of the socket. Here a statement is prepared when a
connection first needs it, and then sent through libpq with its values beside it (PQprepare and PQexecPrepared,
https://www.postgresql.org/docs/current/libpq-exec.html).

Used where nothing can be told apart from the ordinary way; everywhere else (another driver, a pooler in transaction
mode, somebody who watches statements) :func:`run` says so and the caller takes that way.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from taskyard.settings import get_settings
from taskyard.tenancy.schema_switch import steer

try:
    import psycopg
    from psycopg import pq
except ImportError:  # another database, or an older driver
    psycopg = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

Row = tuple[Any, ...]

#: Most statements prepared on one connection; there are about twenty in all.
_MOST = 100
#: SQLSTATEs of a prepared statement that is not there, is there already, or whose plan is of another schema.
_FORGOTTEN = frozenset({"26000", "42P05", "0A000"})

_LOADERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda value: value == b"t",
    20: int, 21: int, 23: int,
    700: float, 701: float,
}  # fmt: skip
_DUMPERS: dict[type, Callable[[Any], bytes]] = {
    str: str.encode,
    int: b"%d".__mod__,
    bool: lambda value: b"t" if value else b"f",
    float: lambda value: repr(value).encode(),
    uuid.UUID: lambda value: str(value).encode(),
    dt.datetime: lambda value: value.isoformat().encode(),
    list: lambda value: ("{" + ",".join(map(_quoted, value)) + "}").encode(),
}


def _quoted(text: str | None) -> str:
    # https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Statement:
    __slots__ = ("loaders", "name")

    def __init__(self, name: bytes) -> None:
        self.name = name
        #: Of its columns, once it has returned some.
        self.loaders: list[Callable[[bytes], Any]] | None = None


class _Session:
    """What is known of one connection of the driver."""

    def __init__(self, raw: Any) -> None:
        self.statements: dict[str, _Statement] = {}
        self.is_usable = _speaks_plainly(raw) and _is_direct(raw)


_sessions: weakref.WeakKeyDictionary[Any, _Session] = weakref.WeakKeyDictionary()


def run(connection: BaseDatabaseWrapper, statement: str, *, params: Sequence[Any]) -> list[Row] | None:
    """Run a statement with ``%s`` in the place of each value; its rows, or None where it must go the ordinary way.

    UUIDs and times come back as text, as from databases that have no such types. Parameters need no cast: their types
    are those of the columns they meet, so a multi-row VALUES cannot be run like this.
    """
    if psycopg is None or connection.vendor != "postgresql" or not get_settings().prepared_statements:
        return None
    if _is_watched(connection) or connection.needs_rollback or _is_in_event_loop():
        return None
    connection.validate_thread_sharing()
    if connection.connection is None:
        connection.ensure_connection()
    raw = connection.connection
    session = _sessions.get(raw)
    if session is None:
        if not isinstance(raw, psycopg.Connection):
            return None
        session = _sessions[raw] = _Session(raw)
    if not session.is_usable:
        return None
    values = _dumped(params)
    if values is None or not _begin(raw):
        return None
    with connection.wrap_database_errors:
        return _run(raw, session, statement, values)


def _is_watched(connection: BaseDatabaseWrapper) -> bool:
    # Our own wrapper sees to the schema, and the job table is the same one in each.
    return connection.queries_logged or any(wrapper is not steer for wrapper in connection.execute_wrappers)


def _is_in_event_loop() -> bool:
    # Where Django refuses to run a statement at all.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _dumped(params: Sequence[Any]) -> list[bytes | None] | None:
    values: list[bytes | None] = []
    for value in params:
        dump = _DUMPERS.get(type(value))
        if dump is not None:
            text = dump(value)
            if b"\0" in text:
                # libpq would cut the text there; the driver refuses it.
                return None
            values.append(text)
        elif value is None:
            values.append(None)
        else:
            return None
    return values


def _begin(raw: Any) -> bool:
    """Begin a transaction where the driver would; False where only the driver knows how, or the connection is gone."""
    status = raw.pgconn.transaction_status
    if status == pq.TransactionStatus.INTRANS:
        return True
    if status != pq.TransactionStatus.IDLE:
        return False
    if raw.autocommit:
        return True
    if raw.isolation_level is not None or raw.read_only is not None or raw.deferrable is not None:
        return False
    return bool(raw.pgconn.exec_(b"BEGIN").status == pq.ExecStatus.COMMAND_OK)


def _run(raw: Any, session: _Session, statement: str, values: list[bytes | None]) -> list[Row] | None:
    known = session.statements.get(statement)
    if known is None:
        if len(session.statements) >= _MOST:
            return None
        known = _Statement(b"taskyard_%d" % len(session.statements))
        done = raw.pgconn.prepare(known.name, _numbered(statement))
        if done.status != pq.ExecStatus.COMMAND_OK:
            _raise_or_give_up(raw, session, done)
            return None
        session.statements[statement] = known
    result = raw.pgconn.exec_prepared(known.name, values)
    if result.status == pq.ExecStatus.COMMAND_OK:
        return []
    if result.status != pq.ExecStatus.TUPLES_OK:
        _raise_or_give_up(raw, session, result)
        return None
    if known.loaders is None:
        known.loaders = [_LOADERS.get(result.ftype(column), bytes.decode) for column in range(result.nfields)]
    get, columns = result.get_value, list(enumerate(known.loaders))
    return [
        tuple(None if (cell := get(row, column)) is None else load(cell) for column, load in columns)
        for row in range(result.ntuples)
    ]


def _raise_or_give_up(raw: Any, session: _Session, result: Any) -> None:
    """Raise the driver's error, unless the ordinary way may work."""
    error = psycopg.errors.error_from_result(result)
    if raw.pgconn.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(str(error))
    if error.sqlstate in _FORGOTTEN:
        # A pooler that was not recognised, a DISCARD ALL, a migration: not on this connection any more.
        logger.info("prepared statements are not used on this connection any more: %s", error)
        session.is_usable = False
        if raw.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            return
    raise error


def _numbered(statement: str) -> bytes:
    first, *rest = statement.split("%s")
    return "".join([first, *(f"${number}{text}" for number, text in enumerate(rest, 1))]).encode()


def _speaks_plainly(raw: Any) -> bool:
    shown = raw.pgconn.parameter_status
    return (shown(b"DateStyle") or b"").startswith(b"ISO") and shown(b"client_encoding") == b"UTF8"


def _is_direct(raw: Any) -> bool:
    """Whether this session is one backend's: a pooler tells its clients another process id than the server does."""
    if not _begin(raw):
        return False
    answer = raw.pgconn.exec_(b"SELECT pg_backend_pid()")
    return bool(answer.status == pq.ExecStatus.TUPLES_OK and int(answer.get_value(0, 0)) == raw.pgconn.backend_pid)
