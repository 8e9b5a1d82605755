"""The page of one job: everything that ``taskyard jobs show`` says, in the order a person asks."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from taskyard.admin.fields import json_text
from taskyard.admin.pages.shown import admin_link, badge, exact, page_of_subject
from taskyard.admin.words import names_of
from taskyard.enqueue import control_alias
from taskyard.failures.models import Failure
from taskyard.jobs.detail import JobDetail
from taskyard.jobs.queries import JobSummary, reason_of
from taskyard.monitoring.words import duration
from taskyard.operations import schedules
from taskyard.sagas.models import Saga
from taskyard.sagas.writing.jobs import SUBJECT as SAGA

Fact = tuple[str, SafeString | str]
#: Of one value; more is cut.
_MOST_TEXT = 20_000


class Facts:
    """What is told of a job, with links to what has to do with it as far as whoever asks may see that."""

    def __init__(self, admin: Any, request: Any, detail: JobDetail) -> None:
        self.admin, self.request, self.detail, self.job = admin, request, detail, detail.fields

    def all(self) -> list[Fact]:
        """Those that there are."""
        told = (self._standing(), self._payload(), self._place(), self._times(), self._family(), self._rest())
        return [(name, value) for part in told for name, value in part if value not in ("", None)]

    def _standing(self) -> Iterator[Fact]:
        job = self.job
        yield "Waits because", self.detail.waits_because
        yield "Why", reason_of(job["error"])
        if job["cancel_requested_at"] and not job["finished_at"]:
            yield "Asked to stop", exact(job["cancel_requested_at"])
        if job["custom_state"] and job["custom_state"].lower() != job["state"]:
            yield "Its own state", job["custom_state"]

    def _payload(self) -> Iterator[Fact]:
        job = self.job
        if job["args"] is not None:
            # Else not for whoever is looking.
            yield "Arguments", arguments(job)
        yield "Result", _json(job["result"]) if job["state"] == "succeeded" and job["result"] is not None else ""
        yield "Checkpoint", _json(job["checkpoint"]) if job["checkpoint"] is not None else ""
        yield "Items", _items(job["counts"])

    def _place(self) -> Iterator[Fact]:
        job = self.job
        yield "Queue", format_html("{}, priority {}", self._jobs(job["queue"], queue=job["queue"]), job["priority"])
        yield "Tenant", self._jobs(job["tenant"], tenant=job["tenant"]) if job["tenant"] else ""
        yield "Attempts", f"{job['attempt']} of {job['max_attempts']} allowed"
        worker = f"{self.detail.worker_name} {job['worker'] or ''}".strip()
        yield "Worker", worker
        limits = (("soft", job["soft_time_limit"]), ("hard", job["time_limit"]))
        yield "Limits", ", ".join(f"{name} {duration(seconds)}" for name, seconds in limits if seconds)

    def _times(self) -> Iterator[Fact]:
        job = self.job
        yield "Created", exact(job["created_at"])
        if job["available_at"] != job["created_at"]:
            yield "Due", exact(job["available_at"])
        if job["expires_at"]:
            yield "Expires", exact(job["expires_at"])
        if job["started_at"]:
            yield "Started", exact(job["started_at"])
        if job["finished_at"]:
            ran = took(job["started_at"], job["finished_at"])
            yield "Ended", format_html("{}{}", exact(job["finished_at"]), f", ran {ran}" if ran else "")

    def _family(self) -> Iterator[Fact]:
        job = self.job
        if job["subject_type"] == SAGA:
            yield "Saga", self._saga(job["subject_id"])
        elif job["subject_type"]:
            label, key = job["subject_type"], job["subject_id"]
            at = page_of_subject(self.admin.admin_site, self.request, label, key)
            jobs = self._jobs("its jobs", q=f"{label}:{key}")
            yield "About", format_html("{} · {}", admin_link(at, f"{label} {key}"), jobs)
        yield "Schedule", self._schedule()
        yield "Batch", self._batch()
        yield "Failures like it", self._group()
        yield "Parent", self._job(job["parent"])
        yield "Root", self._job(job["root"]) if job["root"] != job["id"] else ""
        yield "Children", ", ".join(f"{count:,} {state}" for state, count in sorted(self.detail.children.items()))
        if job["created_by"]:
            yield "Created by", names_of([job["created_by"]])[job["created_by"]]

    def _rest(self) -> Iterator[Fact]:
        job = self.job
        if job["unique_key"] is not None:
            yield "Unique key", job["unique_key"]
        yield "Tags", ", ".join(job["tags"] or ())
        yield "Celery's id", job["task_id"]
        yield "Trace", job["trace"]

    def _jobs(self, text: str, **asked: str) -> SafeString | str:
        return admin_link(f"{self.admin.at('changelist')}?{urlencode(asked)}", text)

    def _job(self, job_id: uuid.UUID | None) -> SafeString | str:
        return format_html('<a href="{}">{}</a>', self.admin.at("change", job_id), job_id) if job_id else ""

    def _batch(self) -> SafeString | str:
        if not self.job["batch"]:
            return ""
        may = self.admin.actor(self.request).may("view_batch")
        return admin_link(self._at("batch", self.job["batch"]) if may else "", str(self.job["batch"]))

    def _group(self) -> SafeString | str:
        if self.job["state"] != "failed" or not self.admin.actor(self.request).may("view_failure"):
            return ""
        rows = Failure.objects.using(control_alias()).filter(job=self.job["id"])
        group = rows.values_list("group", flat=True).first()
        return admin_link(self._at("failuregroup", group), group) if group else ""

    def _saga(self, saga_id: str) -> SafeString:
        actor, jobs = self.admin.actor(self.request), self._jobs("its jobs", q=f"{SAGA}:{saga_id}")
        name = Saga.objects.visible_to(actor.tenant).filter(id=saga_id).values_list("name", flat=True).first()
        may = name is not None and actor.may("view_saga")
        at = self._at("saga", saga_id) if may else ""
        return format_html("{} · {}", admin_link(at, f"{name or ''} {saga_id}".strip()), jobs)

    def _at(self, model: str, key: Any) -> str:
        return reverse(f"admin:taskyard_{model}_change", args=[key], current_app=self.admin.admin_site.name)

    def _schedule(self) -> SafeString | str:
        actor = self.admin.actor(self.request)
        if not self.job["occurrence"] or not actor.may("view_schedule"):
            return ""
        row = schedules.visible(actor).filter(occurrences=self.job["occurrence"]).first()
        return admin_link(self._at("schedule", row.pk), str(row)) if row else ""


def attempts(detail: JobDetail) -> list[dict[str, Any]]:
    """The attempts that did not succeed, the last one first."""
    found = [
        {
            "number": each.number, "error": each.error_type, "message": each.error_message,
            "traceback": each.traceback or "", "ended": exact(each.ended_at), "worker": each.worker,
            "took": took(each.started_at, each.ended_at),
        }
        for each in detail.attempts
    ]  # fmt: skip
    return found[::-1]


def took(started_at: dt.datetime | None, ended_at: dt.datetime | None) -> str:
    """How long it ran; empty where nobody can tell."""
    return duration(ended_at - started_at) if started_at and ended_at and ended_at >= started_at else ""


def children(admin: Any, rows: list[JobSummary]) -> SafeString:
    """Links to some jobs, with their states."""
    links = ((badge(each.state), admin.at("change", each.id), each.task) for each in rows)
    return format_html_join("", '<li>{} <a href="{}">{}</a></li>', links)


def arguments(job: Mapping[str, Any]) -> SafeString:
    """As the call was written."""
    words = [_short(value) for value in job["args"] or ()]
    words += [f"{name}={_short(value)}" for name, value in (job["kwargs"] or {}).items()]
    return format_html("<pre>{}</pre>", ",\n".join(words) or "none")


def _short(value: Any) -> str:
    text = json_text(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text):,} characters)"


def _json(value: Any) -> SafeString:
    return format_html("<pre>{}</pre>", _short(value))


def _items(counts: Mapping[str, Any] | None) -> SafeString | str:
    if not counts:
        return ""
    said = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
    kept = ((each.get("item"), each.get("error")) for each in counts.get("errors", ()))
    errors = format_html_join("", "<li>{}: {}</li>", kept)
    return format_html("{}<ul>{}</ul>", said, errors) if errors else said
