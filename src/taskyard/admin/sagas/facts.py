"""What is told of one saga, and of each of its steps."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from taskyard.admin.fields import json_text
from taskyard.admin.pages.shown import admin_link, badge, exact, page_of_subject
from taskyard.admin.sagas.offers import Offers
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import moment, names_of
from taskyard.jobs.queries import reason_of
from taskyard.monitoring.words import duration
from taskyard.sagas.reading.queries import EventReading, SagaReading, StepReading
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing.jobs import SUBJECT

Fact = tuple[str, SafeString | str]
#: Of one value: more is folded, and more than that is cut.
_MOST_SEEN, _MOST_TEXT = 120, 20_000
_KINDS = {"signal": "waits for a signal", "timer": "waits for a time", "saga": "a saga of its own"}
#: How one that has ended is summed up.
_ENDS = {
    SagaState.COMPLETED: "Completed: every step succeeded or was skipped",
    SagaState.COMPENSATED: "Compensated: what was done is undone",
    SagaState.CANCELLED: "Cancelled: somebody asked for it, and what was done is undone",
}


class Facts:
    """With links to what has to do with it, as far as whoever asks may see that."""

    def __init__(self, admin: Any, request: Any, saga: SagaReading) -> None:
        self.admin, self.request, self.saga = admin, request, saga
        self.actor = actor_of(request)

    def why(self) -> str:
        """Why it does not go on, or how it ended."""
        saga = self.saga
        if saga.finished_at is None:
            return f"{saga.waits_for[:1].upper()}{saga.waits_for[1:]}."
        reason = reason_of(saga.error) if saga.state != SagaState.COMPLETED else ""
        took = duration(saga.finished_at - saga.created_at)
        return f"{_ENDS[SagaState(saga.state)]}{f' ({reason})' if reason else ''}. It took {took}."

    def all(self) -> list[Fact]:
        """Those that there are."""
        told = (self._standing(), self._payload(), self._family(), self._times())
        return [(name, value) for part in told for name, value in part if value not in ("", None)]

    def _standing(self) -> Iterator[Fact]:
        saga = self.saga
        yield "Asked for", f"to be {saga.wish}" if saga.wish and not saga.finished_at else ""
        yield "Needs attention for", reason_of(saga.stuck)
        yield "Turned round for", reason_of(saga.error) if saga.error != saga.stuck else ""
        gone = ", which this process does not have: it goes on where that version runs" if not saga.is_known else ""
        yield "Version", f"{saga.version}{gone}"

    def _payload(self) -> Iterator[Fact]:
        saga = self.saga
        # None: not for whoever is looking.
        yield "Inputs", _json(saga.inputs) if saga.inputs is not None else ""
        yield "Result", _json(saga.result) if saga.result is not None else ""

    def _family(self) -> Iterator[Fact]:
        saga = self.saga
        at = f"{self.admin.at('changelist')}?{urlencode({'tenant': saga.tenant})}"
        yield "Tenant", admin_link(at, saga.tenant) if saga.tenant else ""
        if saga.subject_type:
            page = page_of_subject(self.admin.admin_site, self.request, saga.subject_type, saga.subject_id)
            others = f"{self.admin.at('changelist')}?{urlencode({'q': f'{saga.subject_type}:{saga.subject_id}'})}"
            about = admin_link(page, f"{saga.subject_type} {saga.subject_id}")
            yield "About", format_html("{} · {}", about, admin_link(others, "its sagas"))
        jobs = self._jobs_at()
        yield "Jobs", admin_link(f"{jobs}?{urlencode({'q': f'{SUBJECT}:{saga.id}'})}", "all its jobs") if jobs else ""
        yield "Queue", saga.queue
        if saga.parent:
            yield "Within", format_html("step {} of {}", saga.parent_step, self.saga_link(saga.parent))
        yield "Fork of", self.saga_link(saga.forked_from) if saga.forked_from else ""
        if saga.created_by:
            yield "Created by", names_of([saga.created_by])[saga.created_by]

    def _times(self) -> Iterator[Fact]:
        saga = self.saga
        yield "Started", exact(saga.created_at)
        yield "Last change", exact(saga.updated_at)
        yield "Deadline", exact(saga.deadline_at) if saga.deadline_at and not saga.finished_at else ""
        yield "Ended", exact(saga.finished_at) if saga.finished_at else ""

    def saga_link(self, saga_id: Any) -> SafeString | str:
        """To the page of another one."""
        return admin_link(self.admin.at("change", saga_id), str(saga_id))

    def _jobs_at(self) -> str:
        if not self.actor.may("view_job"):
            return ""
        return reverse("admin:taskyard_job_changelist", current_app=self.admin.admin_site.name)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def steps(self, offers: Offers) -> list[dict[str, Any]]:
        """A row of the table each."""
        return [self._step(step, offers.of_steps.get(step.name, ())) for step in self.saga.steps]

    def _step(self, step: StepReading, verbs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        jobs = self._jobs_at()
        return {
            "name": step.name, "marks": ", ".join(_marks(step)), "state": badge(step.state),
            "times": list(_times(step)), "attempts": _attempts(step), "result": folded(step.result),
            "error": reason_of(step.error),
            "traceback": (step.error or {}).get("traceback", ""), "reason": step.reason,
            "job": admin_link(f"{jobs}{step.job}/change/" if jobs else "", str(step.job)) if step.job else "",
            "child": self.saga_link(step.child) if step.child else "",
            "verbs": [(label, self.admin.at_verb(verb, self.saga.id, step.name)) for verb, label in verbs],
        }  # fmt: skip


def _marks(step: StepReading) -> Iterator[str]:
    if step.kind in _KINDS:
        yield _KINDS[step.kind]
    if step.group:
        yield f"group {step.group}"
    if step.is_pivot:
        yield "◆ the pivot"
    if step.has_rollback:
        yield "can be undone"
    if step.is_taken_over:
        yield "taken over by the fork"
    if step.takes:
        yield f"takes {', '.join(step.takes)}"


def _attempts(step: StepReading) -> str:
    undone = f"{step.compensation_attempt:,} to undo it" if step.compensation_attempt else ""
    return ", ".join(part for part in (f"{step.attempt:,}" if step.attempt else "", undone) if part)


def _times(step: StepReading) -> Iterator[Fact]:
    if step.started_at is not None:
        yield _span("ran" if step.kind == "call" else "waited", step.started_at, step.finished_at)
    if step.compensation_started_at is not None:
        yield _span("undone", step.compensation_started_at, step.compensation_finished_at)
    if step.due_at is not None:
        yield "due", exact(step.due_at)


def _span(what: str, start: dt.datetime, end: dt.datetime | None) -> Fact:
    if end is None or end < start:
        return what, f"since {moment(start)}"
    return what, f"{moment(start)}, {duration(end - start)}"


def lines(history: tuple[EventReading, ...]) -> list[Mapping[str, Any]]:
    """The history, the latest line first."""
    return [
        {"at": each.at, "when": moment(each.at), "what": each.what.replace("_", " "), "step": each.step,
         "text": each.text, "who": each.who}
        for each in reversed(history)
    ]  # fmt: skip


def _json(value: Any) -> SafeString:
    return format_html("<pre>{}</pre>", _short(value))


def _short(value: Any) -> str:
    text = json_text(value)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text):,} characters)"


def folded(value: Any) -> SafeString | str:
    """JSON; what is long shows its beginning until it is opened."""
    if value is None:
        return ""
    text = _short(value)
    line = " ".join(text.split())
    if len(line) <= _MOST_SEEN:
        return format_html("<code>{}</code>", line)
    return format_html("<details><summary><code>{}…</code></summary><pre>{}</pre></details>", line[:_MOST_SEEN], text)
