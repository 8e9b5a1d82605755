"""Google Cloud Scheduler: a job for each schedule, which calls the trigger with a token of a service account."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from taskyard.errors import CannotSay, TargetFailed
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.recurrence import Cron, Recurrence
from taskyard.schedules.recurrence.cron import Fold, Gap
from taskyard.schedules.target import Change, Found, Item, Standing, Target
from taskyard.schedules.targets.clouds import wording
from taskyard.schedules.targets.dialect import refuse_differences, refuse_window
from taskyard.settings import get_settings

_LONGEST_KEY, _LONGEST_DESCRIPTION = 500, 500
_TIMEOUT_SECONDS = 30.0
#: What Google adds to every job.
_ADDED_HEADERS = frozenset({"user-agent"})
_UTC = "Etc/UTC"
#: What it could do where clocks change; where all of it comes to the same, nothing changes for the schedule.
_AS_IT_MAY_BE: tuple[tuple[Gap, Fold], ...] = (("next_valid", "both"), ("skip", "first"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GoogleOptions:
    """``SCHEDULE_TARGETS["google-cloud-scheduler"]``."""

    project: str = ""
    #: For example ``europe-west1``.
    location: str = ""
    #: Where ``taskyard.integrations.trigger.urls`` is included.
    url: str = ""
    #: The e-mail address of the account whose token comes with each call; in ``TRIGGER["SUBJECTS"]``.
    service_account: str = ""
    #: How long one call may take, 15 seconds to 30 minutes.
    attempt_deadline: dt.timedelta = dt.timedelta(minutes=3)
    #: How often a call that failed is made again (0 to 5), and how long that may take.
    retry_count: int = 5
    max_retry_duration: dt.timedelta = dt.timedelta(minutes=30)
    #: The pause before the first of these, which then doubles; and the longest.
    min_backoff: dt.timedelta = dt.timedelta(seconds=5)
    max_backoff: dt.timedelta = dt.timedelta(minutes=5)
    max_doublings: int = 5
    #: Of an emulator, which gets no credentials; empty: Google, with the credentials of the environment.
    endpoint: str = ""

    def __post_init__(self) -> None:
        for name in ("project", "location", "url", "service_account"):
            if not getattr(self, name):
                raise ValueError(f"{name} must be given")
        wording.checked_url(self.url)
        if not dt.timedelta(seconds=15) <= self.attempt_deadline <= dt.timedelta(minutes=30):
            raise ValueError(f"attempt_deadline must be 15 seconds to 30 minutes; it is {self.attempt_deadline}")
        if not 0 <= self.retry_count <= 5:
            raise ValueError(f"retry_count must be 0 to 5; it is {self.retry_count}")
        # What is zero Google takes for not said.
        if not dt.timedelta(0) < self.min_backoff <= self.max_backoff or not 1 <= self.max_doublings <= 16:
            raise ValueError("min_backoff must be above zero and up to max_backoff, and max_doublings 1 to 16")


class GoogleCloudScheduler(Target):
    """Jobs of the Cloud Scheduler API, version 1. Whose they are stands at the beginning of their description.

    What it does where clocks change it does not say, so what would be due then is refused.
    """

    name: ClassVar[str] = "google-cloud-scheduler"
    shares: ClassVar[bool] = True
    Options: ClassVar[type] = GoogleOptions
    options: GoogleOptions

    def translate(self, declaration: Declaration) -> Item:
        """What a job says, in seconds where it is a duration."""
        definition, options = declaration.definition, self.options
        refuse_window(self.name, definition)
        expression, zone = self._cron(definition.recurrence)
        uri = wording.address_of(declaration, options.url)
        trigger = get_settings().trigger
        fields = {
            "schedule": expression, "time_zone": _UTC if zone == "UTC" else zone, "state": "ENABLED",
            "kind": "http_target", "uri": uri, "http_method": "POST", "headers": "", "body": "",
            "service_account": options.service_account,
            "audience": trigger.audience_of(declaration.name) if trigger and trigger.audience else uri,
            "attempt_deadline": options.attempt_deadline.total_seconds(),
            "retry_count": options.retry_count, "max_doublings": options.max_doublings,
            "max_retry_duration": options.max_retry_duration.total_seconds(),
            "min_backoff": options.min_backoff.total_seconds(), "max_backoff": options.max_backoff.total_seconds(),
            "description": wording.description_of(declaration, self.owner, longest=_LONGEST_DESCRIPTION),
        }  # fmt: skip
        return Item(declaration.name, wording.key_of(declaration.name, self.owner, longest=_LONGEST_KEY), fields)

    def _cron(self, recurrence: Recurrence) -> tuple[str, str]:
        numbers, zone = wording.numbers_of(self.name, recurrence)
        expression = " ".join(_field(index, each) for index, each in enumerate(numbers))
        try:
            for gap, fold in _AS_IT_MAY_BE:
                said = Cron(expression, timezone=zone, gap=gap, fold=fold)
                refuse_differences(self.name, wanted=recurrence, said=said, since=self.since)
        except CannotSay:
            raise CannotSay(
                self.name,
                f"what it does at times that the clocks of {zone} skip or repeat is not defined, and the schedule is "
                "due then; choose a time that they always show once, or UTC",
            ) from None
        return expression, zone

    def read(self) -> Found:
        """The jobs of the location."""
        owned: dict[str, Standing] = {}
        foreign: set[str] = set()
        with _failing(self.name):
            for job in self._client().list_jobs(parent=self._parent, timeout=_TIMEOUT_SECONDS):
                key = job.name.rpartition("/")[2]
                mark = wording.read_mark(job.description, self.owner)
                if mark is None or not key.startswith(wording.prefix_of(self.owner)):
                    foreign.add(key)
                else:
                    owned[key] = Standing(Item(mark.name, key, _fields(job, mark.description)), mark.seal)
        return Found(owned, frozenset(foreign))

    def apply(self, changes: Sequence[Change]) -> None:
        """Write jobs one by one; a run that was stopped in between is completed by the next."""
        with _failing(self.name):
            client = self._client()
        for change in changes:
            with _failing(self.name, change.key):
                self._apply(client, change)

    def _apply(self, client: Any, change: Change) -> None:
        name = f"{self._parent}/jobs/{change.key}"
        if change.item is None:
            client.delete_job(name=name, timeout=_TIMEOUT_SECONDS)
            return
        job = {"name": name, **_job(change.item, self.owner)}
        if change.kind == "add":
            client.create_job(parent=self._parent, job=job, timeout=_TIMEOUT_SECONDS)
            return
        paths = sorted(job.keys() - {"name"})
        client.update_job(job=job, update_mask={"paths": paths}, timeout=_TIMEOUT_SECONDS)
        if change.fields.get("state", ("",))[0] == "PAUSED":
            # The state is no part of what an update writes.
            client.resume_job(name=name, timeout=_TIMEOUT_SECONDS)

    @property
    def _parent(self) -> str:
        return f"projects/{self.options.project}/locations/{self.options.location}"

    def _client(self) -> Any:
        with wording.library("gcp"):
            from google.auth.credentials import AnonymousCredentials
            from google.cloud.scheduler_v1 import CloudSchedulerClient
            from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerRestTransport
        # Over REST: the other transport starts threads that no fork survives.
        if not self.options.endpoint:
            return CloudSchedulerClient(transport="rest")
        parts = urlsplit(self.options.endpoint)
        nobody: Any = AnonymousCredentials
        transport = CloudSchedulerRestTransport(host=parts.netloc, url_scheme=parts.scheme, credentials=nobody())
        return CloudSchedulerClient(transport=transport)


def _field(index: int, numbers: list[int]) -> str:
    """``*``, ``*/5``, ``9-17``, ``9-17/2`` or ``1,5``."""
    if wording.is_all(index, numbers):
        return "*"
    first, last = numbers[0], numbers[-1]
    steps = wording.steps_of(numbers)
    if len(numbers) < 3 or len(steps) != 1:
        return ",".join(map(str, numbers))
    (step,) = steps
    if first == wording.LIMITS[index][0] and wording.step_of(index, numbers):
        return f"*/{step}"
    return f"{first}-{last}" + (f"/{step}" if step > 1 else "")


def _job(item: Item, owner: str) -> dict[str, Any]:
    said = item.fields
    spans = {
        name: dt.timedelta(seconds=said[name])
        for name in ("attempt_deadline", "max_retry_duration", "min_backoff", "max_backoff")
    }
    return {
        "description": wording.marked(item, owner),
        "schedule": said["schedule"], "time_zone": said["time_zone"],
        "attempt_deadline": spans["attempt_deadline"],
        "retry_config": {
            "retry_count": said["retry_count"], "max_doublings": said["max_doublings"],
            "max_retry_duration": spans["max_retry_duration"],
            "min_backoff_duration": spans["min_backoff"], "max_backoff_duration": spans["max_backoff"],
        },
        "http_target": {
            "uri": said["uri"], "http_method": said["http_method"],
            "oidc_token": {"service_account_email": said["service_account"], "audience": said["audience"]},
        },
    }  # fmt: skip


def _fields(job: Any, description: str) -> dict[str, Any]:
    """As :meth:`GoogleCloudScheduler.translate` says it."""
    target, retry = job.http_target, job.retry_config
    headers = {name: value for name, value in target.headers.items() if name.lower() not in _ADDED_HEADERS}
    return {
        "schedule": job.schedule, "time_zone": job.time_zone, "state": job.state.name,
        "kind": type(job).pb(job).WhichOneof("target") or "", "uri": target.uri, "http_method": target.http_method.name,
        "headers": json.dumps(headers, sort_keys=True) if headers else "",
        "body": target.body.decode("utf-8", "backslashreplace"),
        "service_account": target.oidc_token.service_account_email, "audience": target.oidc_token.audience,
        "attempt_deadline": _seconds(job.attempt_deadline),
        "retry_count": retry.retry_count, "max_doublings": retry.max_doublings,
        "max_retry_duration": _seconds(retry.max_retry_duration),
        "min_backoff": _seconds(retry.min_backoff_duration), "max_backoff": _seconds(retry.max_backoff_duration),
        "description": description,
    }  # fmt: skip


def _seconds(span: dt.timedelta | None) -> float:
    return span.total_seconds() if span else 0.0


@contextmanager
def _failing(target: str, key: str = "") -> Iterator[None]:
    with wording.library("gcp"):
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    try:
        yield
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise TargetFailed(target, key, str(error)) from error
