"""Whether sagas that are on their way can still be run by the code that is about to be deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.core import checks
from django.db import OperationalError, connections
from django.utils.module_loading import autodiscover_modules

from taskyard.checks.report import Found, message
from taskyard.errors import ConfigurationError
from taskyard.sagas.models import Saga, SagaPlan
from taskyard.sagas.reading.stranded import find_stranded
from taskyard.settings import get_settings


def check_database(
    app_configs: object = None, databases: Sequence[str] | None = None, **_: object
) -> list[checks.CheckMessage]:
    """W021, which asks the database: Django runs it with ``check --database`` and before ``migrate``."""
    try:
        return [message(found) for found in _ask(databases or ())]
    except (OperationalError, ConfigurationError):
        # It cannot be reached, or nobody knows where it is: E001, or who needs it, says so.
        return []


def _ask(databases: Sequence[str]) -> Iterator[Found]:
    alias = get_settings().database
    if alias not in databases:
        return
    with connections[alias].cursor() as cursor:
        tables = connections[alias].introspection.table_names(cursor)
    if not {Saga._meta.db_table, SagaPlan._meta.db_table} <= set(tables):
        return
    autodiscover_modules("orchestrators", "tasks")
    for found in find_stranded():
        yield Found(
            "W021",
            f"{found}: each of them stops in needs_attention at its next step.",
            "Keep the class of that version beside the new one, which takes the next number, until they have ended.",
        )
