"""One saga on the terminal: why it waits, its timeline, its steps, signals and history."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from taskyard.entrypoint.pages.timeline import draw
from taskyard.entrypoint.screen import Screen, ago, duration, stamp
from taskyard.jobs.queries import reason_of
from taskyard.sagas.reading.queries import EventReading, SagaReading, StepReading

_WIDTH = 12
_LONGEST = 300
#: Lines of the history that are shown unless all are asked for.
_LINES = 15


def show(screen: Screen, saga: SagaReading, *, has_whole_history: bool) -> None:
    """Write the page."""
    screen.heading(f"{saga.name}  {saga.id}")
    _facts(screen, list(_of_saga(saga)))
    screen.line()
    screen.heading("Timeline")
    for line in draw(screen, saga.timeline):
        screen.line(line)
    for step in saga.steps:
        if step.state != "pending":
            screen.line()
            screen.heading(f"{step.name}: {step.state}")
            _facts(screen, list(_of_step(step)))
    if saga.signals:
        screen.line()
        screen.heading("Signals")
        rows = [(s.name, stamp(s.received_at), "yes" if s.used_at else "no", _compact(s.payload)) for s in saga.signals]
        screen.table(("NAME", "CAME", "USED", "PAYLOAD"), rows, indent="  ")
    screen.line()
    _history(screen, saga.history, has_all=has_whole_history)


def _facts(screen: Screen, facts: Sequence[tuple[str, str]]) -> None:
    for name, text in facts:
        if text:
            screen.line(f"  {screen.paint(name.ljust(_WIDTH), 'grey')} {text}")


def _of_saga(saga: SagaReading) -> Iterator[tuple[str, str]]:
    yield "waits for", saga.waits_for
    yield "state", f"{saga.state}, to be {saga.wish}" if saga.wish and not saga.finished_at else saga.state
    yield "why", reason_of(saga.stuck) or reason_of(saga.error)
    yield "turned by", reason_of(saga.error) if saga.stuck and saga.stuck != saga.error else ""
    yield "version", f"{saga.version}" if saga.is_known else f"{saga.version}, which is not in this process's code"
    yield "inputs", ", ".join(f"{name}={_compact(value)}" for name, value in (saga.inputs or {}).items())
    yield "result", _compact(saga.result) if saga.result is not None else ""
    yield "tenant", saga.tenant
    yield "about", f"{saga.subject_type} {saga.subject_id}".strip()
    yield "created by", saga.created_by
    yield "within", f"step {saga.parent_step!r} of saga {saga.parent}" if saga.parent else ""
    yield "fork of", str(saga.forked_from or "")
    yield "started", f"{stamp(saga.created_at)} ({ago(saga.created_at, saga.at)})"
    if saga.deadline_at is not None and saga.finished_at is None:
        yield "deadline", f"{stamp(saga.deadline_at)} ({ago(saga.deadline_at, saga.at)})"
    if saga.finished_at is not None:
        yield "ended", f"{stamp(saga.finished_at)} (took {duration(saga.finished_at - saga.created_at)})"


def _of_step(step: StepReading) -> Iterator[tuple[str, str]]:
    marks = [step.kind if step.kind != "call" else "", f"of group {step.group}" if step.group else ""]
    marks += ["the pivot" if step.is_pivot else "", "taken over by the fork" if step.is_taken_over else ""]
    yield "is", ", ".join(mark for mark in marks if mark)
    yield "attempts", _attempts(step)
    yield "takes", ", ".join(step.takes or ())
    yield "result", _compact(step.result) if step.result is not None else ""
    yield "error", reason_of(step.error)
    yield "reason", step.reason
    yield "job", str(step.job or "")
    yield "saga", str(step.child or "")
    yield "due", stamp(step.due_at) if step.due_at else ""
    yield "ran", _span(step.started_at, step.finished_at)
    yield "undone", _span(step.compensation_started_at, step.compensation_finished_at)


def _attempts(step: StepReading) -> str:
    undone = f"{step.compensation_attempt:,} to compensate it" if step.compensation_attempt else ""
    return ", ".join(part for part in (f"{step.attempt:,}" if step.attempt else "", undone) if part)


def _span(start: dt.datetime | None, end: dt.datetime | None) -> str:
    if start is None:
        return ""
    return f"{stamp(start)}, {duration(end - start)}" if end is not None and end >= start else f"since {stamp(start)}"


def _history(screen: Screen, lines: Sequence[EventReading], *, has_all: bool) -> None:
    shown = lines if has_all else lines[-_LINES:]
    screen.heading("History" if len(shown) == len(lines) else f"History: the last {_LINES} of {len(lines):,} lines")
    for line in shown:
        who = f" by {line.who}" if line.who else ""
        text = " ".join(part for part in (line.what.replace("_", " "), line.step, line.text) if part)
        screen.line(f"  {line.at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}  {text}{who}")
    if len(shown) < len(lines):
        screen.line("  --history shows all")


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters; --json shows all)"
