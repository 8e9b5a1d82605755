"""What happens to members of a batch, in rows of their own: nobody waits for the row that they are added up in."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from taskyard.jobs.rows.sql import TALLY, Sql

#: A member was written.
ADDED = "added"


def add(sql: Sql, counts: Mapping[tuple[UUID, str], int]) -> None:
    """Note how many members of which batch were added, or got into or out of which final state.

    In the caller's transaction, which is the one in which that happens.
    """
    if not counts:
        return
    values = [value for (batch, what), delta in counts.items() for value in (sql.uuid(batch), what, delta)]
    marks = ", ".join(["(%s, %s, %s)"] * len(counts))
    sql.execute(f"INSERT INTO {TALLY} (batch, what, delta) VALUES {marks}", values)
