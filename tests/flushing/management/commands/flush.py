"""`flush`, which Django calls after each test that commits: a few milliseconds instead of a hundred.

Django's own truncates every table, for which PostgreSQL makes new files for each of them and of their indexes, and then
tells every app that it has just been migrated, which writes all content types and permissions anew. This one leaves
those where they are, and on PostgreSQL deletes the few rows of the few tables that have any.
"""

from __future__ import annotations

from typing import Any

from django.core.management.color import no_style
from django.core.management.commands import flush
from django.db import connections, transaction

#: `migrate` fills them, and nothing else does.
KEPT = {"django_content_type", "auth_permission"}
#: A table of more bytes, and one with statistics, is truncated: neither its dead rows nor its statistics are to be
#: what the next test finds.
MOST_BYTES = 65_536

LOOK = """
SELECT relname, relpages > 0 OR reltuples > 0 OR pg_relation_size(oid) > %s
FROM pg_class WHERE pg_table_is_visible(oid) AND relname = ANY(%s) AND (relpages > 0 OR pg_relation_size(oid) > 0)
"""


class Command(flush.Command):
    help = __doc__

    def handle(self, *, database: str, **options: Any) -> None:
        connection = connections[database]
        existing = connection.introspection.django_table_names(only_existing=True, include_views=False)
        tables = [name for name in existing if name not in KEPT]
        if connection.vendor == "postgresql" and tables:
            _empty(connection, tables)
        else:
            connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))


def _empty(connection: Any, tables: list[str]) -> None:
    quote = connection.ops.quote_name
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        # As TRUNCATE does: whoever is still writing, for a process that was killed, ends first.
        cursor.execute(f"LOCK TABLE {', '.join(map(quote, tables))} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(LOOK, [MOST_BYTES, tables])
        found = cursor.fetchall()
        for name in (name for name, is_worn in found if not is_worn):
            cursor.execute(f"DELETE FROM {quote(name)}")
        if worn := [quote(name) for name, is_worn in found if is_worn]:
            cursor.execute(f"TRUNCATE {', '.join(worn)} CASCADE")
