"""What ``@task`` of Django makes for our backend: its task, with the options of ours."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
from collections.abc import Collection, Iterable
from typing import Any

from taskyard.backend.api import AnyTask
from taskyard.tasks import registry
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import Task
from taskyard.tasks.unique import Unique

#: Options of ``taskyard.task`` that the decorator takes.
DECLARED = (
    "retry", "soft_time_limit", "time_limit", "unique", "unique_until", "on_duplicate", "tenant_scope", "tenant_from",
    "tenant_databases", "tenant_cache",
)  # fmt: skip
#: What ``TASKS[alias]["OPTIONS"]`` may say for all tasks of an alias: all but what names arguments.
OPTIONS = tuple(name for name in DECLARED if name not in ("unique", "tenant_from"))
#: Those of one call, for ``using()``; the decorator takes them as well.
CALLED = ("tenant", "subject", "database", "created_by", "tags")
_DJANGOS = ("priority", "queue_name", "run_after", "backend")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskyardTask(AnyTask):
    """Django's task with our options; None leaves one to ``OPTIONS`` of the alias, then to our default.

    They mean what they mean to :func:`taskyard.task`. What cannot work raises Django's ``InvalidTask``, a word that is
    none of them ``TypeError``.
    """

    retry: RetryPolicy | None = None
    soft_time_limit: dt.timedelta | None = None
    time_limit: dt.timedelta | None = None
    unique: Unique | None = None
    unique_until: str | None = None
    on_duplicate: str | None = None
    tenant_scope: str | None = None
    tenant_from: Any = None
    tenant_databases: tuple[str, ...] | None = None
    tenant_cache: dt.timedelta | None = None
    tenant: Any = None
    subject: Any = None
    database: str | None = None
    created_by: Any = None
    tags: tuple[str, ...] | None = None

    def __new__(cls, **said: Any) -> TaskyardTask:
        refuse_unknown("@task", said, known=[field.name for field in dataclasses.fields(cls)])
        return object.__new__(cls)

    def using(self, **said: Any) -> TaskyardTask:
        """Django's ``using(priority=, queue_name=, run_after=, backend=)``, which takes our options of a call as well.

        ``tenant``, ``subject``, ``database``, ``created_by`` and ``tags``: see :meth:`taskyard.tasks.task.Task.using`.
        """
        refuse_unknown("using()", said, known=(*_DJANGOS, *CALLED))
        return dataclasses.replace(self, **{name: value for name, value in said.items() if value is not None})

    @property
    def declared(self) -> Task[..., Any]:
        """Our declaration of it: what ``enqueue_many``, ``enqueue_for_tenants`` and canvases (``.s()``) take."""
        return registry.get(self.module_path)


def refuse_unknown(where: str, said: Iterable[str], *, known: Collection[str]) -> None:
    """Raise ``TypeError`` for the first word that is not known, with the one that was meant."""
    for name in said:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known))}."
            raise TypeError(f"{where} has no option {name!r}. {hint}")
