"""How each kind of project makes its tenants, and how their rows are read without going through Taskyard."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.conf import settings
from django.db import connection

from tests.tenancy import files
from tests.tenancy.clients.models import Client


@contextmanager
def made(*ready: str, **others: bool) -> Iterator[None]:
    """These tenants, with empty tables; ``others`` exist and are ready or not."""
    for name in (*ready, *others):
        _make(name, others.get(name, True))
    with files.databases(*ready, *others) if settings.KIND == "databases" else nullcontext():
        yield
    if settings.KIND == "schemas":
        _empty_schemas(gone=others)


def _make(name: str, is_ready: bool) -> None:
    client = Client(name=name, is_ready=is_ready)
    if settings.KIND == "schemas":
        client.schema_name, client.auto_create_schema = name, is_ready
    client.save(**{"verbosity": 0} if settings.KIND == "schemas" else {})


def _empty_schemas(gone: Iterable[str]) -> None:
    # They stay for the next test, but for those that were not there when it began: making one takes most of a second.
    with connection.cursor() as cursor:
        for name in gone:
            cursor.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
        cursor.execute("SELECT nspname FROM pg_namespace WHERE to_regclass(nspname || '.shop_visit') IS NOT NULL")
        for (schema,) in cursor.fetchall():
            tables = ("shop_visit", "shop_publicvisit", "shop_report")
            cursor.execute("TRUNCATE " + ", ".join(f'"{schema}".{table}' for table in tables) + " RESTART IDENTITY")


def delete(name: str) -> None:
    """As the project deletes a tenant."""
    Client.objects.get(name=name).delete()


def set_ready(name: str) -> None:
    """It has become ready."""
    if settings.KIND == "schemas":
        Client.objects.get(name=name).create_schema(check_if_exists=True, verbosity=0)
    Client.objects.filter(name=name).update(is_ready=True)


def visits(name: str) -> list[dict[str, Any]]:
    """Everything that stands in this tenant's own table."""
    from tests.tenancy.shop.models import Visit

    if settings.KIND == "rows":
        return list(Visit._base_manager.filter(tenant=name).values())
    if settings.KIND == "schemas":
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{name}".shop_visit ORDER BY id')
            columns = [column.name for column in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    if settings.KIND == "databases":
        return files.rows(name, "SELECT * FROM shop_visit ORDER BY id")
    raise NotImplementedError(settings.KIND)
