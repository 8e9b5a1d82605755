"""Indexes of the job table, spelled for each database.

None of them mentions ``state``: on PostgreSQL an index whose columns or predicate mention a changed column makes the
update touch every index of the row. ``lane`` does not change between queued and running, so a claim stays a HOT
update (docs/decisions/0002-one-row.md). MariaDB and MySQL have no partial indexes and carry the lane in front. SQLite
does not see that a parameter is not the empty string, so the index of subjects is not partial there. In the feed the
tenant stands before the time, so that who has work, and what comes first of it, is one probe for each tenant
(docs/decisions/0011-fair-share.md).
"""

from __future__ import annotations

from typing import Any

_PARTIAL = {
    "taskyard_job_feed": "(queue, priority DESC, tenant, available_at, id) WHERE lane = 1",
    "taskyard_job_later": "(available_at) WHERE lane = 0",
    "taskyard_job_out": "(queue, published_at) WHERE lane = 2",
    "taskyard_job_finished": "(finished_at) WHERE finished_at IS NOT NULL",
    "taskyard_job_lock": "(unique_lock) WHERE unique_lock IS NOT NULL",
    "taskyard_job_subject": "(subject_type, subject_id) WHERE subject_type <> ''",
    "taskyard_job_root": "(root) WHERE root IS NOT NULL",
}
_FULL = {
    "taskyard_job_feed": "(lane, queue, priority DESC, tenant, available_at, id)",
    "taskyard_job_later": "(lane, available_at)",
    "taskyard_job_finished": "(finished_at)",
    "taskyard_job_lock": "(unique_lock)",
    "taskyard_job_subject": "(subject_type, subject_id)",
    "taskyard_job_root": "(root)",
}
_UNIQUE = {"taskyard_job_lock"}

#: Of members of batches: those that have not ended, and those that did not end well.
_PARTIAL_BATCH = {
    "taskyard_job_batch": "(batch, lane) WHERE batch IS NOT NULL",
    "taskyard_job_batch_bad": "(batch, finished_at) WHERE batch IS NOT NULL AND error IS NOT NULL",
}
_FULL_BATCH = {
    "taskyard_job_batch": "(batch, lane)",
    "taskyard_job_batch_bad": "(batch, finished_at)",
}

#: Of lists, newest first: everybody's, and one tenant's, in which jobs of no tenant are not. The second condition is
#: PostgreSQL's; it is always true, and only a statement that asks about the time implies it: else the next tenant that
#: has work is looked for among jobs of any state by this. SQLite has no such way out and does without.
_LISTS = {
    "taskyard_job_created": "(created_at, id)",
    "taskyard_job_tenant": "(tenant, created_at, id) WHERE tenant <> '' AND created_at IS NOT NULL",
}


def statements(vendor: str) -> list[str]:
    """The CREATE INDEX statements for a database vendor as Django names it."""
    chosen = _FULL if vendor == "mysql" else _PARTIAL
    if vendor == "sqlite":
        chosen = {**_PARTIAL, "taskyard_job_subject": _FULL["taskyard_job_subject"]}
    return [
        f"CREATE {'UNIQUE ' if name in _UNIQUE else ''}INDEX {name} ON taskyard_job {definition}"
        for name, definition in chosen.items()
    ]


def create(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    if schema_editor.connection.vendor == "postgresql":
        # Room on each page for the next version of its rows: without it half of the claims are no HOT updates.
        schema_editor.execute("ALTER TABLE taskyard_job SET (fillfactor = 85)")
    for statement in statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def drop(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    on_table = " ON taskyard_job" if schema_editor.connection.vendor == "mysql" else ""
    for name in _FULL if on_table else _PARTIAL:
        schema_editor.execute(f"DROP INDEX {name}{on_table}")


def create_batch(apps: Any, schema_editor: Any) -> None:
    """The indexes of members of batches, for ``RunPython`` in a migration."""
    chosen = _FULL_BATCH if schema_editor.connection.vendor == "mysql" else _PARTIAL_BATCH
    for name, definition in chosen.items():
        schema_editor.execute(f"CREATE INDEX {name} ON taskyard_job {definition}")


def drop_batch(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    on_table = " ON taskyard_job" if schema_editor.connection.vendor == "mysql" else ""
    for name in _PARTIAL_BATCH:
        schema_editor.execute(f"DROP INDEX {name}{on_table}")


def create_lists(apps: Any, schema_editor: Any) -> None:
    """The indexes of lists of jobs, for ``RunPython`` in a migration."""
    vendor = schema_editor.connection.vendor
    for name in _lists(vendor):
        columns = _LISTS[name] if vendor == "postgresql" else _LISTS[name].partition(" WHERE ")[0]
        schema_editor.execute(f"CREATE INDEX {name} ON taskyard_job {columns}")


def drop_lists(apps: Any, schema_editor: Any) -> None:
    """For ``RunPython`` in a migration."""
    vendor = schema_editor.connection.vendor
    on_table = " ON taskyard_job" if vendor == "mysql" else ""
    for name in _lists(vendor):
        schema_editor.execute(f"DROP INDEX {name}{on_table}")


def _lists(vendor: str) -> list[str]:
    return [name for name in _LISTS if name != "taskyard_job_tenant" or vendor != "sqlite"]
