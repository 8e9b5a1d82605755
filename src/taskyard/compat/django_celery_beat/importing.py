"""``PeriodicTask`` rows as schedules of ours, once: for projects that leave django-celery-beat."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django_celery_beat.models import PeriodicTask, PeriodicTasks

from taskyard.compat.django_celery_beat.mirror import TIMES
from taskyard.compat.django_celery_beat.reading import read
from taskyard.compat.django_celery_beat.scheduler import KEEPER
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Schedule
from taskyard.schedules.sources.imports import Found, Source, Step

#: Rows that stood in for theirs under our Beat become the project's own.
SOURCE = Source("import:django-celery-beat", supersedes=KEEPER)


def found(now: dt.datetime) -> Iterator[Found]:
    """Their rows."""
    stored = dict(
        Schedule.objects.filter(origin__in=[SOURCE.origin, SOURCE.supersedes]).values_list("name", "recurrence")
    )
    for task in PeriodicTask.objects.select_related(*TIMES).order_by("name"):
        said = read(task, now=now, before=stored.get(task.name))
        if said.definition is None:
            yield Found(name=task.name, problem=said.problem)
        else:
            sun = ("only its next time was taken over: an event of the sun has no recurrence here",)
            notes = sun if task.solar_id is not None else ()
            yield Found(name=task.name, said=_said(said.definition), is_enabled=task.enabled, notes=notes)


def _said(definition: Definition) -> dict[str, Any]:
    said = {name: getattr(definition, name) for name in definition.__dataclass_fields__}
    return {**said, "subject": ("", "")}


def disable(steps: list[Step]) -> int:
    """Disable the rows of theirs that are schedules of ours now; how many."""
    names = [step.name for step in steps if step.kind in ("add", "change", "same", "edited")]
    disabled: int = PeriodicTask.objects.filter(name__in=names, enabled=True).update(enabled=False, last_run_at=None)
    if disabled:
        PeriodicTasks.update_changed()
    return disabled
