"""A database for each tenant: made, read past Django, and gone at the end."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from taskyard.tenancy.databases import forget_tenants, migrate_tenant
from tests import servers
from tests.servers import postgres
from tests.settings import _remove_files
from tests.tenancy.clients.directory import database

#: What every tenant's database is copied from.
_TEMPLATE = "template"


def is_sqlite() -> bool:
    return settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")


def create(name: str, *, like: str = "") -> None:
    place = database(name)["NAME"]
    if is_sqlite():
        if like:
            shutil.copyfile(database(like)["NAME"], place)
    else:
        template = f' TEMPLATE "{database(like)["NAME"]}"' if like else ""
        postgres.execute(servers.require("postgres"), f'CREATE DATABASE "{place}"{template}')


def drop(name: str) -> None:
    place = database(name)["NAME"]
    if is_sqlite():
        _remove_files(Path(place))
    else:
        postgres.drop_database(servers.require("postgres"), place)


@contextmanager
def template() -> Iterator[None]:
    """What the others are copied from: a database of a tenant without anything in it."""
    try:
        create(_TEMPLATE)
        migrate_tenant(_TEMPLATE, database(_TEMPLATE))
        forget_tenants()
        yield
    finally:
        drop(_TEMPLATE)


@contextmanager
def databases(*names: str) -> Iterator[None]:
    """A migrated, empty database for each of these tenants."""
    with ExitStack() as stack:
        for name in names:
            stack.callback(drop, name)
            create(name, like=_TEMPLATE)
        stack.callback(forget_tenants)
        yield


def rows(name: str, query: str) -> list[dict[str, Any]]:
    """What a query finds in the database of a tenant."""
    place = database(name)
    if is_sqlite():
        with closing(sqlite3.connect(place["NAME"], timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]
    import psycopg
    from psycopg.rows import dict_row

    login = {"host": place["HOST"], "port": place["PORT"], "user": place["USER"], "dbname": place["NAME"]}
    with psycopg.connect(**login, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()
