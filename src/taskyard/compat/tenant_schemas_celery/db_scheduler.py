"""django-celery-beat's tables in public and in each tenant's schema, on Taskyard's engine."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.db import connection
from django_celery_beat.models import PeriodicTasks
from django_celery_beat.schedulers import ModelEntry

from taskyard.celery.messages import SCHEMA, tenant_of_schema
from taskyard.compat.django_celery_beat.mirror import Mirror
from taskyard.compat.django_celery_beat.scheduler import DatabaseScheduler
from taskyard.compat.tenant_schemas_celery.compat import get_public_schema_name, get_tenant_model, schema_context
from taskyard.compat.tenant_schemas_celery.scheduler import TenantAwareSchedulerMixin

#: Stamps that one statement asks for.
_AT_ONCE = 200


def stamps() -> dict[str, dt.datetime | None]:
    """When each schema that has the tables was changed last; one question for 200 schemas."""
    table = PeriodicTasks._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relname = %s AND c.relkind IN ('r', 'p')", [table],
        )  # fmt: skip
        found: dict[str, dt.datetime | None] = dict.fromkeys(name for (name,) in cursor.fetchall())
        names = list(found)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            quoted = [f"{connection.ops.quote_name(name)}.{connection.ops.quote_name(table)}" for name in part]
            cursor.execute(" UNION ALL ".join(f"SELECT %s, max(last_update) FROM {name}" for name in quoted), part)
            found.update(cursor.fetchall())
    return found


class TenantAwareModelEntry(ModelEntry):
    """An entry whose row is in the schema its headers name."""

    def is_due(self) -> Any:
        """Asked in its schema: an entry that has expired is written."""
        with schema_context(self._schema()):
            return super().is_due()

    def save(self) -> None:
        """Write it where it is from."""
        with schema_context(self._schema()):
            super().save()

    def _schema(self) -> str:
        return str(self.options["headers"].get(SCHEMA) or get_public_schema_name())


class TenantAwarePeriodicTasks:
    """Their table of changes, of all schemas."""

    @classmethod
    def last_change(cls) -> dt.datetime | None:
        """When any of them was changed last."""
        return max(filter(None, stamps().values()), default=None)


class TenantAwareDatabaseScheduler(TenantAwareSchedulerMixin, DatabaseScheduler):
    """Runs ``PeriodicTask`` rows of every schema, each for its tenant: each due time once, with any number of Beats.

    Equal names in two schemas run; only ``schedule``, which has one entry for a name, still refuses them.
    """

    Entry = TenantAwareModelEntry
    Changes = TenantAwarePeriodicTasks
    keeper = "tenant-schemas-celery"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._by_schema: dict[str, Mirror] = {}
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Make rows in public of the app's entries."""
        self.install_default_entries({})
        self.update_from_dict(self._tenant_aware_beat_schedule_to_dict(self.app.conf.beat_schedule))

    def stale(self, now: dt.datetime) -> Iterator[tuple[Mirror, Any]]:
        """See :class:`~taskyard.compat.django_celery_beat.scheduler.Tables`."""
        known = stamps()
        for schema in self.get_schema_names():
            if schema not in known:
                # Still being made.
                continue
            mirror = self._by_schema.get(schema) or Mirror(
                self.Model, keeper=self.keeper, tenant=tenant_of_schema(schema)
            )
            self._by_schema[schema] = mirror
            if mirror.wants(known[schema], now):
                with schema_context(schema):
                    yield mirror, known[schema]

    def entered(self, tenant: str) -> AbstractContextManager[object]:
        """See :class:`~taskyard.compat.django_celery_beat.scheduler.Tables`."""
        place: AbstractContextManager[object] = schema_context(tenant or get_public_schema_name())
        return place

    def enabled_models(self) -> list[Any]:
        """The enabled rows of all schemas; raises ``ValueError`` for a name that two of them have."""
        models: list[Any] = []
        places: dict[str, str] = {}
        for schema in self.get_schema_names():
            with schema_context(schema):
                found = list(self.enabled_models_qs())
            for task in found:
                if task.name in places:
                    said = f"duplicate periodic task name: {task.name!r}."
                    raise ValueError(f"{said} Previously seen in schema: {places[task.name]!r}.")
                task.headers = json.dumps({SCHEMA: schema, **json.loads(task.headers or "{}")})
                places[task.name] = schema
            models += found
        return models

    def get_public_schema_name(self) -> list[str]:
        """The schemas that are nobody's."""
        return [get_public_schema_name()]

    def get_tenant_schema_names(self, exclude_schemas: Sequence[str]) -> list[str]:
        """The schemas of tenants, without some."""
        tenants = get_tenant_model().objects.exclude(schema_name__in=exclude_schemas)
        return list(tenants.values_list("schema_name", flat=True))

    def get_schema_names(self) -> list[str]:
        """All of them."""
        public = self.get_public_schema_name()
        return [*public, *self.get_tenant_schema_names(public)]
