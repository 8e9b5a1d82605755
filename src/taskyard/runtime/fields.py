"""Stored JSON text that reads as Python values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models


class JsonTextField(models.TextField):  # type: ignore[type-arg]
    """JSON kept as text.

    ``jsonb`` refuses NUL and lone surrogates and turns 1e22 into an integer; text keeps what the caller wrote.
    ``None`` is SQL NULL.
    """

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else json.loads(value)

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    if TYPE_CHECKING:
        # What attribute access gives and takes: any JSON value.
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any

    def to_python(self, value: Any) -> Any:
        return value
