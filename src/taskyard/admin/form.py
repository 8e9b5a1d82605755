"""The form of a schedule: each thing that a definition says, refused in a sentence at its field."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.module_loading import autodiscover_modules

from taskyard.admin import timing
from taskyard.admin.fields import DurationField, JsonField, MomentField, WordInput
from taskyard.enqueue import control_alias
from taskyard.enqueue.owner import owner_of
from taskyard.enqueue.row import resolve_queue
from taskyard.errors import InvalidName, InvalidSchedule, InvalidTask, PayloadError, StillHidden, TaskyardError
from taskyard.jobs.redaction import restored_arguments, shown_arguments
from taskyard.operations import Actor, schedules
from taskyard.schedules.decisions import MOST_LAST
from taskyard.schedules.definitions.define import refuse_odd_names
from taskyard.schedules.definitions.definition import Definition, checked
from taskyard.schedules.models import Schedule
from taskyard.schedules.recurrence.calendars import WEEKDAYS
from taskyard.settings import get_settings
from taskyard.tasks import registry
from taskyard.tasks.doors import door
from taskyard.tasks.payload import encode_arguments
from taskyard.tenancy.context import current_tenant

#: The origin of rows that are made here.
ADMIN = "admin"
#: Where the form says what the definition calls otherwise.
_FIELD_OF = {"recurrence": "kind", "bounds": "end", "tenants": "tenant_names"}

_KINDS = {"cron": "by the clock (cron)", "every": "at an interval", "at": "once"}
_GAPS = {
    "next_valid": "runs at the next valid instant",
    "skip": "does not run",
    "same_offset": "runs as if the clocks had not changed",
}
_FOLDS = {
    "": "as suits it: a fixed time once, an interval both times",
    "first": "runs the first time only",
    "last": "runs the second time only",
    "both": "runs both times",
}
_OVERLAPS = {
    "skip": "skip the later one",
    "allow": "run beside it",
    "buffer_one": "one waits for its end, further ones are skipped",
    "buffer_all": "wait for its end, each in turn",
    "cancel_running": "cancel the earlier one, then run",
    "replace_pending": "take its place if it has not begun, else skip",
}
_CATCH_UPS = {
    "one": "the last one runs, for all of them",
    "none": "nothing is caught up",
    "all": "each of them runs",
    "last_n": "the last few run",
}
_AUDIENCES = {"": "one job", "each": "one for each tenant that is ready", "these": "one for each of these tenants"}
#: What only whoever stands outside of all tenants may say.
_OPERATORS_FIELDS = ("audience", "tenant_names", "spread")


def task_names() -> list[str]:
    """Tasks of this process that can be scheduled."""
    autodiscover_modules("tasks")
    return [task.name for task in registry.all_tasks() if task.options.tracked]


@lru_cache(maxsize=1)
def zone_names() -> list[str]:
    """Time zones as people know them."""
    return ["UTC", *sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/"))]


def _choices(words: Mapping[str, str]) -> list[tuple[str, str]]:
    return list(words.items())


def _long_text(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows})


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is typed, as a :class:`~taskyard.schedules.definitions.definition.Definition`; :meth:`define` writes it.

    ``recurrence`` and ``bounds`` are there as soon as their fields can be read, whatever is wrong with the others.
    """

    name = forms.CharField(max_length=200, help_text="Unique for its tenant; it cannot be changed later.")
    tenant = forms.CharField(max_length=63, required=False, help_text="Whose jobs these are; empty: the project's own.")
    description = forms.CharField(required=False, widget=_long_text(2))
    # With what it was when the page was shown: somebody may disable it meanwhile, and this is not to undo that.
    enabled = forms.BooleanField(
        required=False, initial=True, show_hidden_initial=True,
        help_text="While it is not, its due times leave no trace.",
    )  # fmt: skip
    began_with = forms.IntegerField(required=False, widget=forms.HiddenInput)

    task = forms.CharField(
        max_length=255, widget=WordInput(task_names, {"class": "vTextField"}),
        help_text="As it is declared; tasks that only other processes know can be typed.",
    )  # fmt: skip
    kwargs = JsonField(dict, label="Arguments", help_text='A JSON object: {"report_id": 17}')
    args = JsonField(list, label="Arguments by position", help_text="A JSON list; mostly empty.")
    queue = forms.CharField(max_length=255, required=False, help_text="Empty: as the task says.")
    priority = forms.IntegerField(
        required=False, min_value=-100, max_value=100, help_text="-100 to 100, higher is sooner. Empty: the task's."
    )

    kind = forms.ChoiceField(label="Runs", choices=_choices(_KINDS), initial="cron", widget=forms.RadioSelect)
    expression = forms.CharField(
        label="Cron expression", max_length=500, required=False,
        help_text="Minute, hour, day of month, month, day of week: 30 8 * * MON-FRI",
    )  # fmt: skip
    timezone = forms.CharField(
        label="Time zone", max_length=100, required=False, widget=WordInput(zone_names), help_text="Empty: UTC."
    )
    gap = forms.ChoiceField(label="A time that clocks skip", choices=_choices(_GAPS), required=False)
    fold = forms.ChoiceField(label="A time that clocks repeat", choices=_choices(_FOLDS), required=False)
    interval = DurationField(label="Every", required=False, help_text="15 min, 1 h 30 min, 2 d")
    phase = DurationField(
        label="Shifted by", required=False, help_text="Counted from 1970-01-01 00:00 UTC plus this; less than one turn."
    )
    at = MomentField(label="At", required=False, help_text="2027-02-01 08:00")

    window = DurationField(
        required=False, help_text="Runs come later by a part of this, always the same: it spreads many schedules."
    )
    start = MomentField(label="Not before", required=False)
    end = MomentField(label="Not after", required=False)
    max_runs = forms.IntegerField(label="Most runs", required=False, min_value=1)
    calendar_weekdays = forms.MultipleChoiceField(
        label="Not on", choices=_choices(WEEKDAYS), required=False, widget=forms.CheckboxSelectMultiple
    )
    calendar_days = forms.CharField(
        label="Nor on these days", required=False, widget=_long_text(3), max_length=20_000,
        help_text="One in a line: 2027-12-25 Christmas Day, or 2027-12-24 .. 2027-12-31",
    )  # fmt: skip
    calendar_name = forms.CharField(label="Name of this calendar", max_length=100, required=False)
    calendar_timezone = forms.CharField(
        label="Its days are those of", max_length=100, required=False, widget=WordInput(zone_names),
        help_text="A time zone; empty: that of the recurrence.",
    )  # fmt: skip
    more_calendars = JsonField(list, label="Further calendars", max_length=100_000)

    overlap = forms.ChoiceField(label="While an earlier job has not ended", choices=_choices(_OVERLAPS), initial="skip")
    catch_up = forms.ChoiceField(label="After downtime", choices=_choices(_CATCH_UPS), initial="one")
    catch_up_count = forms.IntegerField(
        label="How many run", min_value=1, max_value=MOST_LAST, required=False, help_text="Of “the last few run”."
    )
    catch_up_window = DurationField(label="At most so late", required=False, help_text="Empty: however late.")
    pause_after_failures = forms.IntegerField(
        label="Pause after failures", min_value=1, max_value=100, required=False,
        help_text="It pauses itself after so many failed jobs in a row. Empty: never.",
    )  # fmt: skip
    audience = forms.ChoiceField(label="Each due time brings", choices=_choices(_AUDIENCES), required=False)
    tenant_names = forms.CharField(
        label="Names of the tenants", required=False, widget=_long_text(2), help_text="One in a line."
    )
    spread = DurationField(label="Spread over", required=False, help_text="Jobs of several tenants begin within this.")

    #: The tenant whose schedules alone are made here; None: as is said, or the current one's.
    owner: ClassVar[str | None] = None

    class Meta:
        model = Schedule
        fields: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial = {**_initial(self.instance), **(kwargs.get("initial") or {})}
        self.recurrence: Any = None
        self.bounds: Any = None
        self.definition: Definition | None = None
        tenant = (current_tenant() or None) if self.owner is None else self.owner
        if tenant is not None:
            self._belong_to(tenant)

    def _belong_to(self, tenant: str) -> None:
        if not self.instance.pk:
            self.instance.tenant = tenant
        for name in ("tenant", *_OPERATORS_FIELDS):
            self.fields.pop(name, None)

    @property
    def is_looking(self) -> bool:
        """Whether somebody pressed Preview: nothing is to be written."""
        return "_preview" in self.data

    def is_valid(self) -> bool:
        """Whether it is to be saved, and can be."""
        return super().is_valid() and not self.is_looking

    def clean(self) -> dict[str, Any]:
        """Read what several fields say together."""
        data = self.cleaned_data
        data["name"] = self.instance.name if self.instance.pk else data.get("name", "")
        data["tenant"] = data.get("tenant", self.instance.tenant)
        self._restore(data)
        self.recurrence = self._read(timing.RECURRENCE_FIELDS, timing.recurrence_from_fields)
        self.bounds = self._read(timing.BOUNDS_FIELDS, timing.bounds_from_fields)
        self._check_version(data)
        self._check_names(data["name"], data["tenant"])
        if not self.errors:
            self._define_from(data)
        self._check_call(data)
        return data

    def _post_clean(self) -> None:
        # The definition has checked everything; the row shows what could be read, for the preview.
        self.instance.recurrence = None if self.recurrence is None else self.recurrence.to_json()
        self.instance.bounds = None if self.bounds is None else self.bounds.to_json()
        if not self.instance.pk:
            self.instance.name = self.cleaned_data.get("name", "")
            self.instance.tenant = self.cleaned_data.get("tenant", "")

    def _read(self, names: tuple[str, ...], read: Callable[[Mapping[str, Any]], Any]) -> Any:
        if any(name in self.errors for name in names):
            return None
        try:
            return read(self.cleaned_data)
        except ValidationError as error:
            self.add_error(None, error)
            return None

    def _restore(self, data: dict[str, Any]) -> None:
        """Put back the secrets that the page did not show."""
        row = self.instance
        if not row.pk or "args" in self.errors or "kwargs" in self.errors:
            return
        given = {"args": data["args"], "kwargs": data["kwargs"]}
        try:
            data["args"], data["kwargs"] = restored_arguments(row.task, **given, stored=(row.args, row.kwargs))
        except StillHidden as error:
            self._say("kwargs", str(error))

    def _check_version(self, data: Mapping[str, Any]) -> None:
        if self.instance.pk and data.get("began_with") not in (None, self.instance.version):
            self.add_error(None, "Somebody has changed this schedule since you opened this page: open it again.")

    def _check_names(self, name: str, tenant: str) -> None:
        if self.instance.pk or "name" in self.errors:
            return
        try:
            refuse_odd_names(name, tenant)
        except (InvalidSchedule, InvalidName) as error:
            self._say("tenant" if isinstance(error, InvalidName) else "name", _sentence(error))
            return
        if Schedule.objects.all().filter(tenant=tenant, name=name).exists():
            self._say("name", f"There is a schedule “{name}” already: change that one, or choose another name.")

    def _define_from(self, data: Mapping[str, Any]) -> None:
        try:
            self.definition = checked(data["name"], {**self._said(data), "task": data["task"]})
        except InvalidSchedule as error:
            for field, problem in zip(error.fields, error.problems, strict=True):
                self._say(_FIELD_OF.get(field, field), problem[:1].upper() + problem[1:])

    def _said(self, data: Mapping[str, Any]) -> dict[str, Any]:
        row = self.instance
        plain = ("args", "kwargs", "queue", "priority", "overlap", "catch_up", "catch_up_window", "description")
        said = {name: data[name] for name in plain}
        said["recurrence"], said["bounds"] = self.recurrence, self.bounds
        said["options"] = row.options
        said["catch_up_count"] = data["catch_up_count"] or row.catch_up_count
        said["pause_after_failures"] = data["pause_after_failures"]
        said["subject"] = (row.subject_type, row.subject_id)
        if "audience" in self.fields:
            names = tuple(filter(None, map(str.strip, data["tenant_names"].splitlines())))
            if data["audience"] == "these" and not names:
                self._say("tenant_names", "Name at least one.")
            if data["audience"] and data["tenant"]:
                self._say("audience", "One that is a tenant's own runs for that tenant alone.")
            said["tenants"] = {"each": "each", "these": names}.get(data["audience"])
            said["spread"] = data["spread"]
        elif row.pk:
            # Not for whoever sits within a tenant to say.
            said["tenants"], said["spread"] = row.tenants, dt.timedelta(seconds=row.spread)
        return {name: value for name, value in said.items() if name != "spread" or value is not None}

    def _check_call(self, data: Mapping[str, Any]) -> None:
        """Say now what the scheduler would find when it makes the job."""
        if any(name in self.errors for name in ("task", "args", "kwargs", "queue", "tenant")):
            return
        try:
            resolve_queue(data["queue"], data["task"])
        except TaskyardError as error:
            self._say("queue", str(error))
        try:
            self._try_call(data)
        except InvalidTask as error:
            self._say("task", f"It cannot be scheduled: {error.problem}.")
        except (PayloadError, TypeError) as error:
            self._say("kwargs", str(error))
        except TaskyardError as error:
            self._say("tenant", str(error))

    def _try_call(self, data: Mapping[str, Any]) -> None:
        name, args, kwargs = data["task"], data["args"], data["kwargs"]
        encode_arguments(name, args, kwargs, get_settings().max_payload_bytes)
        door("load_tasks")()
        task = registry.find(name)
        if task is None:
            return
        if not task.options.tracked:
            raise InvalidTask(name, "it is declared tracked=False and has no jobs")
        try:
            bound = task.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"The task is {name}{task.signature}: {error}.") from error
        bound.apply_defaults()
        # A callable is the project's own, and the scheduler's to call.
        if not data.get("audience") and not callable(task.options.tenant_from):
            owner_of(task, data["tenant"], arguments=lambda: bound.arguments)

    def _say(self, field: str, sentence: str) -> None:
        self.add_error(field if field in self.fields else None, sentence)

    def define(self, actor: Actor) -> Schedule:
        """Write it, by the same way as everybody else; raises :class:`TaskyardError` if somebody was faster."""
        row, data = self.instance, self.cleaned_data
        assert self.definition is not None
        with transaction.atomic(using=control_alias()):
            self._refuse_what_somebody_changed()
            said = {name: value for name, value in self._said(data).items() if name != "recurrence"}
            written = schedules.define(
                actor, name=data["name"], tenant=data["tenant"], task=data["task"], recurrence=self.recurrence,
                origin=row.origin if row.pk else ADMIN,
                enabled=data["enabled"] if not row.pk or "enabled" in self.changed_data else None, **said,
            )  # fmt: skip
            if not row.pk and written.version != 1:
                raise TaskyardError(f"Somebody has just made a schedule {data['name']!r}; nothing was changed.")
        return written

    def _refuse_what_somebody_changed(self) -> None:
        row = self.instance
        if not row.pk:
            return
        as_it_was = Schedule.objects.select_for_update().filter(pk=row.pk, version=row.version)
        if not list(as_it_was.values_list("pk", flat=True)):
            raise TaskyardError("Somebody has just changed this schedule: nothing was saved. Look at it again below.")


def _sentence(error: InvalidSchedule | InvalidName) -> str:
    problem = error.problems[0] if isinstance(error, InvalidSchedule) else str(error)
    return problem[:1].upper() + problem[1:]


def _initial(row: Schedule) -> dict[str, Any]:
    """What the fields show of a row."""
    plain = (
        "name", "tenant", "description", "enabled", "task", "kwargs", "args", "queue", "priority", "overlap",
        "catch_up", "catch_up_count", "pause_after_failures",
    )  # fmt: skip
    shown = {name: getattr(row, name) for name in plain}
    shown["args"], shown["kwargs"] = shown_arguments(row.task, args=row.args, kwargs=row.kwargs)
    shown |= timing.fields_of_recurrence(row.recurrence) | timing.fields_of_bounds(row.bounds)
    shown |= {"began_with": row.version, "audience": row.tenants if row.tenants in (None, "each") else "these"}
    if isinstance(row.tenants, list):
        shown["tenant_names"] = "\n".join(map(str, row.tenants))
    try:
        definition = Definition.of(row)
    except TaskyardError:
        return shown
    return shown | {"catch_up_window": definition.catch_up_window, "spread": definition.spread or None}
