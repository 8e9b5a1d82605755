"""The transaction that Django's ``TestCase`` holds around each test, and how to act as if it were not there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger(__name__)

_ABOUT_SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO")


def is_in_test_case(alias: str) -> bool:
    """Whether what is written on the alias now is in a test case's transaction, which never commits."""
    return any(map(_is_test_cases, connections[alias].atomic_blocks))


@contextmanager
def as_without_transaction() -> Iterator[None]:
    """Within, code in a test case runs as if its statements were committed one by one, each ``atomic()`` for itself.

    A statement that fails undoes itself alone, and what waits for a commit is called at the end. Limit: it is called
    then, not at the end of its own ``atomic()``. On PostgreSQL each statement is put into a savepoint.
    """
    held = _in_test_cases()
    # Not imported by a process that runs no tests.
    from unittest import mock

    before = {connection.alias: len(connection.run_on_commit) for connection in held}
    try:
        with ExitStack() as entered:
            for connection in held:
                entered.enter_context(connection.execute_wrapper(_by_itself))
            entered.enter_context(
                mock.patch.object(BaseDatabaseWrapper, "needs_rollback", _needs_rollback, create=True)
            )
            yield
    finally:
        commit_hooks(before)


def commit_hooks(already: Mapping[str, int] | None = None) -> int:
    """Call what waits for the commit of a test case's transaction; how many were called.

    ``already`` says how many of each alias are somebody else's. What was called is not called again, and keeps its
    place: ``captureOnCommitCallbacks`` counts them.
    """
    called = 0
    for connection in _in_test_cases():
        place = (already or {}).get(connection.alias, 0)
        # Those that they register themselves are called as well; a savepoint that is undone makes another list of it.
        while place < len(connection.run_on_commit):
            waiting: list[Any] = connection.run_on_commit
            savepoints, hook, robust = waiting[place]
            if hook is not _called:
                waiting[place] = (savepoints, _called, robust)
                called += 1
                _call(hook, robust)
            place += 1
    return called


def hooks_left() -> int:
    """How many functions wait for a commit that never comes, our own aside."""
    waiting: list[Any] = [entry for connection in _in_test_cases() for entry in connection.run_on_commit]
    return sum(not (getattr(hook, "__module__", None) or "").startswith("taskyard.") for _, hook, _ in waiting)


def _in_test_cases() -> list[BaseDatabaseWrapper]:
    return [one for one in connections.all(initialized_only=True) if is_in_test_case(one.alias)]


def _is_test_cases(block: Any) -> bool:
    return bool(getattr(block, "_from_testcase", False))


def _is_between_transactions(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.atomic_blocks) and all(map(_is_test_cases, connection.atomic_blocks))


def _by_itself(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Mapping[str, Any]) -> Any:
    connection = context["connection"]
    if connection.vendor != "postgresql" or not _is_between_transactions(connection) or _is_about_savepoints(sql):
        return execute(sql, params, many, context)
    with transaction.atomic(using=connection.alias):
        return execute(sql, params, many, context)


def _is_about_savepoints(sql: Any) -> bool:
    return isinstance(sql, str) and sql.startswith(_ABOUT_SAVEPOINTS)


def _get(connection: BaseDatabaseWrapper) -> bool:
    return bool(connection.__dict__["needs_rollback"])


def _set(connection: BaseDatabaseWrapper, value: bool) -> None:
    # Where there would be no transaction, Model.save() would not ask for its end.
    connection.__dict__["needs_rollback"] = value and not _is_between_transactions(connection)


_needs_rollback = property(_get, _set)


def _called() -> None:
    """In the place of a hook that has been called."""


def _call(hook: Callable[[], object], robust: bool) -> None:
    try:
        hook()
    except Exception:
        if not robust:
            raise
        logger.exception("A function that waited for the commit failed.")
