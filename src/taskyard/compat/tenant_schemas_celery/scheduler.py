"""Beat's entries, sent to tenants: one Beat, entries in memory or in a file, as there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from taskyard.celery.beat import classic
from taskyard.celery.messages import ALL_TENANTS, SCHEMA
from taskyard.compat.tenant_schemas_celery.compat import get_public_schema_name, get_tenant_model, schema_context

logger = logging.getLogger(__name__)

_EVERYBODY = "__all_tenants_only__"
#: What an entry's own ``__reduce__`` gives back.
_PICKLED = 8


class TenantAwareScheduleEntry(classic.ScheduleEntry):
    """An entry that bears the option ``tenant_schemas``, which stands in its headers by then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("tenant_schemas", None)
        super().__init__(*args[:_PICKLED], **kwargs)


class TenantAwareSchedulerMixin:
    """Sends a due entry to each tenant, in one statement; to the schemas it names; or, naming none, once in public."""

    app: Any

    @classmethod
    def get_queryset(cls) -> Any:
        """The tenants that are sent anything."""
        return get_tenant_model().objects.all()

    def _tenant_aware_beat_schedule_to_dict(self, beat_schedule: Mapping[str, Any]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, entry in beat_schedule.items():
            schemas = entry.get("tenant_schemas")
            for schema in [_EVERYBODY] if schemas is None else schemas:
                entries[f"{name}@{schema}"] = _entry_for(schema, entry)
        return entries

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send it."""
        schemas = self._schemas_of(entry.options.get("headers") or {})
        logger.info("Sending due task %s (%s) to %s schemas", entry.name, entry.task, len(schemas))
        with self.app.seam.producer(producer) as together:
            for schema in schemas:
                with schema_context(schema):
                    self._send(entry, together)

    def _send(self, entry: Any, producer: Any) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)  # type: ignore[attr-defined]
        except classic.SchedulingError:
            logger.exception("Due task %s was not sent", entry.name)

    def _schemas_of(self, headers: Mapping[str, Any]) -> list[str]:
        public, tenants = get_public_schema_name(), self.get_queryset()
        if headers.get(ALL_TENANTS):
            return list(tenants.exclude(schema_name=public).values_list("schema_name", flat=True))
        # Public need not be somebody's schema.
        named = headers.get(SCHEMA, public)
        return [named] if named == public or tenants.filter(schema_name=named).exists() else []


def _entry_for(schema: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy({name: value for name, value in entry.items() if name != "tenant_schemas"})
    headers = made.setdefault("options", {}).setdefault("headers", {})
    if schema == _EVERYBODY:
        headers[ALL_TENANTS] = True
    else:
        headers[SCHEMA] = schema
    return made


class TenantAwareScheduler(TenantAwareSchedulerMixin, classic.Scheduler):
    """Entries in memory."""

    Entry = TenantAwareScheduleEntry

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Take the app's entries over."""
        super().merge_inplace(self._tenant_aware_beat_schedule_to_dict(b))


class TenantAwarePersistentScheduler(TenantAwareSchedulerMixin, classic.PersistentScheduler):
    """Entries in a file."""

    Entry = TenantAwareScheduleEntry

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Take the app's entries over."""
        super().merge_inplace(self._tenant_aware_beat_schedule_to_dict(b))
