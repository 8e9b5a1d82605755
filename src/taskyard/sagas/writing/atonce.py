"""On PostgreSQL, a transition as one statement: it commits by itself, in one round trip instead of five."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from django.db import connections, models

from taskyard.jobs.rows.sql import Sql
from taskyard.runtime.fields import JsonTextField
from taskyard.sagas.models import Saga, SagaEvent, SagaStep


def move(
    saga_id: uuid.UUID,
    revision: int,
    *,
    alias: str,
    values: Mapping[str, Any],
    steps: Sequence[SagaStep],
    notes: Sequence[SagaEvent],
) -> bool:
    """Give the saga these values if it stands at that revision, with its steps and its history; whether it did."""
    saga = _columns(Saga, alias)
    assigned = ", ".join(f"{name} = %s::{saga[name]}" for name in values)
    update = f"UPDATE taskyard_saga SET {assigned} WHERE id = %s::uuid AND revision = %s::bigint RETURNING id"
    params = [_plain(Saga, name, value) for name, value in values.items()] + [saga_id, revision]
    parts = [f"moved AS ({update})"]
    if steps:
        conflict = f"ON CONFLICT (saga, name) DO UPDATE SET {_overwritten(alias)}"
        parts.append(f"stepped AS ({_insert(SagaStep, len(steps), alias)} {conflict})")
        params += _values(SagaStep, steps, alias)
    if notes:
        parts.append(f"noted AS ({_insert(SagaEvent, len(notes), alias)})")
        params += _values(SagaEvent, notes, alias)
    return Sql(alias).one(f"WITH {', '.join(parts)} SELECT id FROM moved", params) is not None


def _insert(model: type[models.Model], count: int, alias: str) -> str:
    columns = _columns(model, alias)
    casts = ", ".join(f"%s::{kind}" for kind in columns.values())
    rows = " UNION ALL ".join([f"SELECT {casts} FROM moved"] * count)
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) {rows}"


def _overwritten(alias: str) -> str:
    return ", ".join(f"{name} = EXCLUDED.{name}" for name in _columns(SagaStep, alias) if name not in ("saga", "name"))


@functools.cache
def _columns(model: type[models.Model], alias: str) -> dict[str, str]:
    """Columns and their types, without the key that the database counts up."""
    fields = [field for field in model._meta.local_fields if not isinstance(field, models.BigAutoField)]
    return {field.name: str(field.db_type(connections[alias])) for field in fields}


def _values(model: type[models.Model], rows: Sequence[models.Model], alias: str) -> list[Any]:
    return [_plain(model, name, getattr(row, name)) for row in rows for name in _columns(model, alias)]


def _plain(model: type[models.Model], name: str, value: Any) -> Any:
    """As the driver takes it: a statement is prepared for plain types alone."""
    if (model, name) in _json_columns():
        return JsonTextField().get_prep_value(value)
    return value.value if isinstance(value, Enum) else value


@functools.cache
def _json_columns() -> frozenset[tuple[type[models.Model], str]]:
    found = ((model, field) for model in (Saga, SagaStep, SagaEvent) for field in model._meta.local_fields)
    return frozenset((model, field.name) for model, field in found if isinstance(field, JsonTextField))
