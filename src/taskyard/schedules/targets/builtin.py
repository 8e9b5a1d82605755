"""The built-in scheduler: a schedule of the code becomes a row, and Taskyard's own schedulers keep the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.sources import code
from taskyard.schedules.sources.reconcile import Change as RowChange
from taskyard.schedules.target import Change, Found, Item, Target
from taskyard.schedules.targets import BUILTIN


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltinOptions:
    """None: rows are in the control database."""


class Builtin(Target):
    """Says every recurrence, and needs no clock elsewhere. A sync is one transaction."""

    name: ClassVar[str] = BUILTIN
    Options: ClassVar[type] = BuiltinOptions

    def translate(self, declaration: Declaration) -> Item:
        """The columns of its row."""
        return Item(declaration.name, declaration.name, declaration.definition.as_columns())

    def read(self) -> Found:
        """Nothing: rows are compared in the transaction that writes them."""
        return Found()

    def apply(self, changes: Sequence[Change]) -> None:
        """Nothing, for the same reason."""

    def compare(self, *, adopt: bool = False) -> list[Change]:
        """What a sync would do to the rows."""
        return [_as_change(change) for change in code.compare(adopt=adopt)]

    def sync(self, *, adopt: bool = False) -> list[Change]:
        """Make the rows as the code says."""
        return [_as_change(change) for change in code.sync(adopt=adopt)]


def _as_change(change: RowChange) -> Change:
    reason = "somebody made a row of that name" if change.kind == "conflict" else ""
    return Change(change.kind, change.name, change.name, change.columns, reason)
