"""Tests of projects in which each tenant has a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from taskyard.tenancy.aliases import is_tenants
from taskyard.tenancy.databases import forget_tenants


@contextmanager
def tenants_allowed() -> Iterator[None]:
    """Let a test connect to tenants' databases, whose aliases do not exist yet when the test begins.

    Django's test cases, and pytest-django, refuse aliases that a test did not name, and a tenant's alias can only be
    named once it is registered. Enter it in ``setUp`` (``self.enterContext(tenants_allowed())``) or in a fixture that
    asks for ``db`` or ``transactional_db``: what was entered before Django's own guard is overruled by that. Aliases of
    the project's own are guarded as before. At both ends every tenant's alias is forgotten, and this thread's
    connections to them are closed.

    Limit: a test case wraps the aliases it names in transactions, so what a test writes to a tenant's database is
    committed. Give each test fresh ones.
    """
    guarded = BaseDatabaseWrapper.ensure_connection

    def ensure_connection(self: BaseDatabaseWrapper) -> None:
        if not is_tenants(self.alias):
            guarded(self)
        elif self.connection is None:
            if self.in_atomic_block and self.closed_in_transaction:
                raise ProgrammingError("Cannot open a new connection in an atomic block.")
            with self.wrap_database_errors:
                self.connect()

    forget_tenants()
    try:
        with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", ensure_connection):
            yield
    finally:
        # A test case that ends puts back its guards on every alias there is, and has none on these.
        forget_tenants()
