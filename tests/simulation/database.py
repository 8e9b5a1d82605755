"""The real database as the simulation sees it: every statement is a place for a fault, every change is written down.

Triggers report each change of a row as it happens; what was reported counts once its transaction has committed and is
forgotten when it rolls back. So the oracle learns of every write, whichever code made it, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management import call_command
from django.db import connection

_TABLES = ("attempt", "job", "worker", "lease", "queuesetting", "canvas", "canvaspart")
_SEEN = ("state", "claim", "attempt", "max_attempts", "unique_lock", "cancel_requested_at")

_TRIGGERS = f"""
CREATE TEMP TRIGGER sim_born AFTER INSERT ON main.taskyard_job BEGIN
  SELECT sim_note('born', NEW.id, NEW.state, NEW.unique_lock, NEW.parent, NEW.kwargs); END;
CREATE TEMP TRIGGER sim_moved AFTER UPDATE ON main.taskyard_job
  WHEN {" OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _SEEN)} BEGIN
  SELECT sim_note('moved', OLD.id, OLD.state, NEW.state, OLD.claim, NEW.claim, OLD.attempt, NEW.attempt,
                  NEW.unique_lock, NEW.cancel_requested_at, NEW.worker); END;
CREATE TEMP TRIGGER sim_saved AFTER UPDATE OF checkpoint ON main.taskyard_job
  WHEN OLD.checkpoint IS NOT NEW.checkpoint BEGIN
  SELECT sim_note('saved', NEW.id, NEW.checkpoint, NEW.claim, OLD.state); END;
CREATE TEMP TRIGGER sim_gone AFTER DELETE ON main.taskyard_job BEGIN
  SELECT sim_note('gone', OLD.id, OLD.state); END;
CREATE TEMP TRIGGER sim_beat AFTER UPDATE OF beats ON main.taskyard_worker BEGIN
  SELECT sim_note('beat', NEW.id); END;
CREATE TEMP TRIGGER sim_registered AFTER INSERT ON main.taskyard_worker BEGIN
  SELECT sim_note('beat', NEW.id); END;
"""

#: Statements of Django's own transaction handling: nothing of the core happens between them and their neighbours.
_BRACKETS = ("BEGIN", "SAVEP", "RELEA", "ROLLB")


class Journal:
    """Changes in the order of their writing, handed on when they commit."""

    def __init__(self) -> None:
        self.pending: list[tuple[Any, ...]] = []
        self._savepoints: dict[str, int] = {}

    def note(self, *change: Any) -> None:
        """Called by the triggers, and for facts that stand and fall with the transaction."""
        self.pending.append(change)

    def drain(self) -> list[tuple[Any, ...]]:
        """What has just committed."""
        done, self.pending = self.pending, []
        self._savepoints.clear()
        return done

    def follow(self, sql: str) -> None:
        """Keep step with savepoints."""
        verb, name = sql[:5], sql.rsplit(" ", 1)[-1]
        if verb == "SAVEP":
            self._savepoints[name] = len(self.pending)
        elif verb == "ROLLB" and name in self._savepoints:
            del self.pending[self._savepoints[name] :]


class Database:
    """Stands between Django and SQLite; ``guard`` decides at each boundary, ``committed`` learns what is final.

    ``guard(place, sql, may_wait)`` may raise or let time pass; ``committed(changes)`` is called after each commit.
    """

    def __init__(self) -> None:
        call_command("migrate", verbosity=0)
        connection.ensure_connection()
        self.raw = connection.connection
        self.journal = Journal()
        self.guard: Callable[[str, str, bool], None] = lambda place, sql, may_wait: None
        self.committed: Callable[[list[tuple[Any, ...]]], None] = lambda changes: None
        self.raw.create_function("sim_note", -1, self._note)
        self.raw.executescript(_TRIGGERS)
        connection.execute_wrappers.append(self._run)
        connection._commit = self._commit
        connection._rollback = self._rollback

    def _note(self, *change: Any) -> None:
        self.journal.note(*change)

    def wipe(self) -> None:
        """An empty database for the next world."""
        self.reset()
        self.guard = lambda place, sql, may_wait: None
        self.raw.execute("BEGIN")
        for name in _TABLES:
            self.raw.execute(f"DELETE FROM taskyard_{name}")
        self.raw.commit()
        self.journal.drain()

    def reset(self) -> None:
        """What the server does when a client is gone: its open transaction never happened."""
        if self.raw.in_transaction:
            self.raw.rollback()
        self.journal.drain()
        connection.in_atomic_block, connection.needs_rollback, connection.closed_in_transaction = False, False, False
        connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []

    def _run(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        journal = self.journal
        if sql[:5] in _BRACKETS:
            if not connection.in_atomic_block:
                self.guard("before", sql, True)
            journal.follow(sql)
            return execute(sql, params, many, context)
        self.guard("before", sql, not connection.in_atomic_block)
        mark = len(journal.pending)
        try:
            result = execute(sql, params, many, context)
        except Exception:
            # The statement as a whole did not happen, whatever its triggers saw.
            del journal.pending[mark:]
            raise
        if not connection.in_atomic_block and journal.pending:
            self.committed(journal.drain())
        self.guard("after", sql, False)
        return result

    def _commit(self) -> None:
        try:
            self.guard("before", "COMMIT", False)
        except BaseException:
            self._rollback()
            raise
        self.raw.commit()
        self.committed(self.journal.drain())
        self.guard("after", "COMMIT", False)

    def _rollback(self) -> None:
        self.raw.rollback()
        self.journal.drain()
