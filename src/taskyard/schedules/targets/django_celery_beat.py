"""django-celery-beat: a row of its own tables for each schedule, for projects whose Beat keeps the time."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

from django.apps import apps
from django.db import transaction

from taskyard.errors import ConfigurationError
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.recurrence import Cron
from taskyard.schedules.target import Change, Found, Item, Standing, Target
from taskyard.schedules.targets.dialect import five_fields, refuse_differences, refuse_window

#: What each row runs: a task of ours that calls for its schedule.
CALL = "taskyard.call_schedule"
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
#: The last line of a row's description, unless somebody wrote behind it.
_MARK = re.compile(r"\s*\[taskyard (?P<owner>[a-z0-9-]+) (?P<seal>[0-9a-f]{16})\]")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BeatOptions:
    """``SCHEDULE_TARGETS["django-celery-beat"]``."""

    #: The queue of the calls; empty: by Celery's routes.
    queue: str = ""


class Beat(Target):
    """Rows for Beat's database scheduler. It may call twice or too soon, and is then answered with nothing.

    Whether a row is enabled is the administrator's to say, and no drift. What Beat does around a change of the clocks
    depends on its version, so schedules that are due then are refused.
    """

    name: ClassVar[str] = "django-celery-beat"
    Options: ClassVar[type] = BeatOptions
    options: BeatOptions

    def __init__(self, options: BeatOptions, *, owner: str) -> None:
        super().__init__(options, owner=owner)
        if not apps.is_installed("django_celery_beat"):
            raise ConfigurationError(["the target 'django-celery-beat' needs 'django_celery_beat' in INSTALLED_APPS."])

    def translate(self, declaration: Declaration) -> Item:
        """``schedule`` (five fields), ``timezone``, ``task``, ``args``, ``kwargs``, ``queue`` and ``description``."""
        definition = declaration.definition
        refuse_window(self.name, definition)
        expression, zone = five_fields(self.name, definition.recurrence, days="both")
        for said in (
            Cron(expression, timezone=zone, gap="skip", fold="first"),
            Cron(expression, timezone=zone, gap="next_valid", fold="both"),
        ):
            refuse_differences(self.name, definition.recurrence, said=said, since=self.since)
        return Item(declaration.name, declaration.name, {
            "schedule": expression, "timezone": zone, "task": CALL, "args": [], "kwargs": {"name": declaration.name},
            "queue": self.options.queue, "description": definition.description,
        })  # fmt: skip

    def read(self) -> Found:
        """Rows that carry our mark, and the names of all others."""
        owned: dict[str, Standing] = {}
        foreign: set[str] = set()
        for row in _rows().select_related("crontab"):
            mark = _MARK.search(row.description or "")
            if mark is None or mark["owner"] != self.owner:
                foreign.add(row.name)
            else:
                owned[row.name] = Standing(
                    Item(row.name, row.name, _fields_of(row, _MARK.sub("", row.description))), mark["seal"]
                )
        return Found(owned, frozenset(foreign))

    def apply(self, changes: Sequence[Change]) -> None:
        """Write the rows in one transaction; Beat notices, because each is saved by its model."""
        with transaction.atomic(using=_rows().db):
            for change in changes:
                row = _rows().filter(name=change.key).first()
                if change.item is not None:
                    self._save(row or _rows().model(name=change.key), change.item)
                elif row is not None:
                    row.delete()

    def _save(self, row: Any, item: Item) -> None:
        fields = item.fields
        row.crontab = _crontab(fields)
        row.interval = row.solar = row.clocked = None
        row.one_off = False
        row.task, row.queue = fields["task"], fields["queue"] or None
        row.args, row.kwargs = json.dumps(fields["args"]), json.dumps(fields["kwargs"])
        row.description = f"{fields['description']}\n\n[taskyard {self.owner} {item.seal}]".lstrip()
        row.save()


def _rows() -> Any:
    return _models().PeriodicTask.objects.all()


def _models() -> Any:
    # Late, and by name: the package is no dependency of ours, it would hold Django back.
    return import_module("django_celery_beat.models")


def _crontab(fields: Mapping[str, Any]) -> Any:
    """The row of that crontab; the table has no constraint, so there may be several."""
    said = dict(zip(_FIELDS, fields["schedule"].split(), strict=True))
    table = _models().CrontabSchedule.objects
    wanted = {**said, "timezone": fields["timezone"]}
    return table.filter(**wanted).first() or table.create(**wanted)


def _fields_of(row: Any, words: str) -> dict[str, Any]:
    crontab = row.crontab
    return {
        "schedule": " ".join(getattr(crontab, name) for name in _FIELDS) if crontab else str(row.schedule),
        "timezone": str(crontab.timezone) if crontab else "",
        "task": row.task, "args": _loaded(row.args), "kwargs": _loaded(row.kwargs), "queue": row.queue or "",
        "description": words,
    }  # fmt: skip


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
