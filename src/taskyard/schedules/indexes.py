"""Indexes of the schedules' table that differ between databases: for those who look for some of very many.

A scheduler's update touches every index of a row but partial ones, and what these are about is rare. MariaDB and MySQL
have none; there an index is not touched either while its columns stay as they are.
"""

from __future__ import annotations

from typing import Any, Literal

from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

Held = Literal["paused", "disabled", "parked"]

#: As it stands in the index and, word for word, in a query: with a parameter SQLite would not know it again.
_WHERE: dict[Held, str] = {
    "paused": "paused_at IS NOT NULL",
    "disabled": "NOT enabled",
    "parked": "error > ''",
}
#: An index of a text's beginning does not tell the empty one apart there: what is parked has no next due time either.
_WHERE_MYSQL: dict[Held, str] = {
    **_WHERE, "disabled": "enabled = 0", "parked": "(next_at IS NULL AND error > '')",
}  # fmt: skip
_PARTIAL = {
    "taskyard_schedule_paused": f"(paused_at) WHERE {_WHERE['paused']}",
    "taskyard_schedule_disabled": f"(id) WHERE {_WHERE['disabled']}",
    "taskyard_schedule_parked": f"(id) WHERE {_WHERE['parked']}",
    "taskyard_schedule_still": "(id) WHERE next_at IS NULL",
    "taskyard_schedule_prefix": "(name)",
}
_FULL = {
    "taskyard_schedule_paused": "(paused_at)",
    "taskyard_schedule_disabled": "(enabled)",
    "taskyard_schedule_still": "(next_at)",
    "taskyard_schedule_prefix": "(name)",
}


def held(rows: QuerySet[Any], kind: Held) -> QuerySet[Any]:
    """Those of ``rows`` that are held back in that way, through their index."""
    where = (_WHERE_MYSQL if _vendor(rows) == "mysql" else _WHERE)[kind]
    return rows.filter(RawSQL(where, (), output_field=BooleanField()))


def named_like(rows: QuerySet[Any], prefix: str) -> QuerySet[Any]:
    """Those of ``rows`` whose name begins so, through an index; MariaDB and MySQL take upper case for lower case."""
    vendor = _vendor(rows)
    if vendor == "mysql":
        # startswith compares bytes there, for which there is no index.
        return rows.filter(name__istartswith=prefix)
    if vendor == "postgresql":
        return rows.filter(name__startswith=prefix)
    return rows.filter(name__gte=prefix, name__lt=prefix + chr(0x10FFFF))


def statements(vendor: str) -> list[str]:
    """The CREATE INDEX statements for a database vendor as Django names it."""
    chosen = dict(_FULL if vendor == "mysql" else _PARTIAL)
    if vendor == "postgresql":
        # An index in the order of a language does not find beginnings of words.
        chosen["taskyard_schedule_prefix"] = "(name varchar_pattern_ops)"
    return [f"CREATE INDEX {name} ON taskyard_schedule {definition}" for name, definition in chosen.items()]


def create(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    for statement in statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def drop(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    on_table = " ON taskyard_schedule" if schema_editor.connection.vendor == "mysql" else ""
    for name in _FULL if on_table else _PARTIAL:
        schema_editor.execute(f"DROP INDEX {name}{on_table}")


def _vendor(rows: QuerySet[Any]) -> str:
    from django.db import connections

    return connections[rows.db].vendor
