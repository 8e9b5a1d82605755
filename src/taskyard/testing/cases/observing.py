"""What can be seen of a project from outside: the rows of its tables, its mails, the jobs it enqueued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core import mail
from django.db import connections, models, router

from taskyard.jobs.models import Job

#: What was seen: how often each thing is there, by what kind of thing it is.
Seen = Counter[tuple[str, str]]

#: Differences that a message shows.
_SHOWN = 10


def seen(*, but_job: Any) -> Seen:
    """All of it, now; columns that each save stamps (``auto_now``) left out, and one job."""
    return Counter([*_rows(), *_mails(), *_jobs(but_job)])


def differences(before: Seen, after: Seen) -> list[str]:
    """What came and what went, a line for each."""
    lines = [f"+ {kind}: {thing}" for kind, thing in sorted((after - before).elements())]
    lines += [f"- {kind}: {thing}" for kind, thing in sorted((before - after).elements())]
    return [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else lines


def _rows() -> Iterator[tuple[str, str]]:
    tables: dict[str, set[str]] = {}
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.managed or model._meta.proxy or model._meta.app_label == "taskyard":
            continue
        alias = router.db_for_read(model)
        if alias not in tables:
            # With schemas, those of other tenants are not in sight.
            tables[alias] = set(connections[alias].introspection.table_names())
        if model._meta.db_table not in tables[alias]:
            continue
        columns = [field.attname for field in model._meta.concrete_fields if not _is_stamp(field)]
        for row in model._base_manager.using(alias).values(*columns).iterator():
            yield model._meta.label, repr(row)


def _is_stamp(field: Any) -> bool:
    return isinstance(field, models.GeneratedField) or bool(getattr(field, "auto_now", False))


def _mails() -> Iterator[tuple[str, str]]:
    for one in getattr(mail, "outbox", ()):
        yield "mail", f"{one.subject!r} to {', '.join(one.recipients())}: {one.body!r}"


def _jobs(but: Any) -> Iterator[tuple[str, str]]:
    columns = ("task", "args", "kwargs", "tenant", "queue")
    for row in Job.objects.exclude(id=but).values(*columns):
        yield "job", repr(row)
