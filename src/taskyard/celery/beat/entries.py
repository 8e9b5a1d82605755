"""``app.conf.beat_schedule`` as schedules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from celery.schedules import crontab, maybe_schedule, schedule

from taskyard.celery.messages import tenant_of_schema
from taskyard.errors import TaskyardError
from taskyard.schedules.definitions.definition import OPTIONS
from taskyard.schedules.recurrence import Bounds
from taskyard.schedules.sources.beat import every, times_of_crontab
from taskyard.schedules.sources.imports import Found, Source

#: Rows that follow the entries while a Beat of ours runs have it with the app's name.
ORIGIN = "celery-beat-schedule"
#: Rows that are made of them once.
SOURCE = Source(f"import:{ORIGIN}")
#: Beat sends whatever still runs, and once for all that was missed.
LIKE_BEAT: Mapping[str, Any] = {"overlap": "allow", "catch_up": "one"}
_KNOWN = {"task", "schedule", "args", "kwargs", "options", "relative", "tenant_schemas"}


def found_in(app: Any) -> Iterator[Found]:
    """The entries of an app, by name."""
    for name, entry in sorted((app.conf.beat_schedule or {}).items()):
        for part, tenants in _parts(name, entry):
            try:
                yield Found(name=part, said={**_said(app, entry), **tenants}, notes=_notes(entry))
            except (TaskyardError, TypeError, ValueError, KeyError) as error:
                yield Found(name=part, problem=str(error) or type(error).__name__)


def _parts(name: str, entry: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """For whom an entry of tenant-schemas-celery is: None is every tenant there, and public is nobody's here."""
    if "tenant_schemas" not in entry:
        return [(name, {})]
    if entry["tenant_schemas"] is None:
        return [(name, {"tenants": "each"})]
    tenants = [tenant for tenant in map(tenant_of_schema, entry["tenant_schemas"]) if tenant]
    parts: list[tuple[str, dict[str, Any]]] = [(name, {"tenants": tenants})] if tenants else []
    return parts if len(tenants) == len(entry["tenant_schemas"]) else [*parts, (f"{name}@public", {})]


def _said(app: Any, entry: Mapping[str, Any]) -> dict[str, Any]:
    unknown = entry.keys() - _KNOWN
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} cannot be kept")
    return {
        "task": entry["task"], "args": list(entry.get("args") or ()), "kwargs": dict(entry.get("kwargs") or {}),
        **LIKE_BEAT, **_times(app, entry["schedule"]), **_options(entry.get("options") or {}),
    }  # fmt: skip


def _times(app: Any, said: Any) -> dict[str, Any]:
    when = maybe_schedule(said, app=app)
    if isinstance(when, crontab):
        zone = getattr(when, "tz", None) or app.timezone
        cron, calendars = times_of_crontab(when, zone_name(zone))
        return {"recurrence": cron, "bounds": Bounds(calendars=calendars)}
    if type(when) is schedule:
        return {"recurrence": every(when.run_every)}
    raise ValueError(f"a schedule of the kind {type(when).__name__} cannot be kept: enqueue it from a task, or say At")


def zone_name(zone: Any) -> str:
    """The IANA name of a zone; raises ``ValueError`` for one that has none."""
    name = getattr(zone, "key", None) or ("UTC" if zone == dt.UTC else "")
    if not name:
        raise ValueError(f"the time zone {zone!r} has no name: set CELERY_TIMEZONE")
    return str(name)


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in given.items() if value is not None}
    # django-celery-beat's word for it.
    if "expire_seconds" in rest:
        rest["expires"] = rest.pop("expire_seconds")
    said = {"queue": str(rest.pop("queue", "")), "priority": _priority(rest.pop("priority", None))}
    if isinstance(rest.get("expires"), dt.timedelta):
        rest["expires"] = rest["expires"].total_seconds()
    elif isinstance(rest.get("expires"), dt.datetime):
        rest["expires"] = rest["expires"].isoformat()
    unknown = rest.keys() - set(OPTIONS)
    if unknown:
        raise ValueError(f"the option {sorted(unknown)[0]!r} cannot be kept")
    return {**said, "options": rest}


def _priority(given: Any) -> int | None:
    return None if given is None else max(-100, min(100, int(given)))


def _notes(entry: Mapping[str, Any]) -> tuple[str, ...]:
    is_interval = not isinstance(entry.get("schedule"), crontab)
    return ("intervals count from midnight UTC, and not from when Beat starts",) if is_interval else ()
