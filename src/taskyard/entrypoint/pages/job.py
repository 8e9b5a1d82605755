"""One job on the terminal: everything about it, in the order a person asks."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

from taskyard.entrypoint.screen import Screen, ago, bar, duration, stamp
from taskyard.jobs.detail import JobDetail
from taskyard.jobs.progress.words import number
from taskyard.jobs.queries import reason_of
from taskyard.sagas.writing.jobs import SUBJECT

_WIDTH = 14
#: Items that failed, of those that are kept.
_MOST_ITEMS = 10


def show(screen: Screen, detail: JobDetail, *, now: dt.datetime) -> None:
    """Write the page."""
    job = detail.fields
    screen.heading(f"{job['task']}  {job['id']}")
    for name, text in _facts(detail, now):
        if text:
            lines = text.splitlines()
            screen.line(f"  {screen.paint(name.ljust(_WIDTH), 'grey')} {lines[0]}")
            for line in lines[1:]:
                screen.line(f"  {'':{_WIDTH}} {line}")
    for attempt in detail.attempts:
        took = duration(attempt.ended_at - attempt.started_at) if attempt.started_at else "?"
        screen.line()
        screen.heading(f"Attempt {attempt.number}: {attempt.error_type}")
        screen.line(f"  ended {stamp(attempt.ended_at)}, after {took}, worker {attempt.worker or '-'}")
        for line in (attempt.traceback or attempt.error_message).rstrip().splitlines():
            screen.line(f"    {line}")


def _facts(detail: JobDetail, now: dt.datetime) -> Iterator[tuple[str, str]]:
    job = detail.fields
    yield "state", _state(job, now)
    yield "waits because", detail.waits_because
    yield "why", reason_of(job["error"])
    yield "progress", _progress(job)
    yield "arguments", _arguments(job)
    yield "result", _compact(job["result"]) if job["state"] == "succeeded" else ""
    yield "queue", f"{job['queue']}, priority {job['priority']}"
    yield "tenant", job["tenant"]
    yield "attempts", f"{job['attempt']} of {job['max_attempts']} allowed"
    yield from _times(job, now)
    yield "worker", " ".join(str(part) for part in (detail.worker_name, job["worker"]) if part)
    yield "limits", _limits(job)
    yield "unique key", str(job["unique_key"]) if job["unique_key"] is not None else ""
    if job["subject_type"] == SUBJECT:
        yield "saga", _saga(job)
    else:
        yield "about", f"{job['subject_type']} {job['subject_id']}".strip()
    yield "created by", job["created_by"]
    yield "parent", str(job["parent"] or "")
    yield "root", str(job["root"]) if job["root"] and job["root"] != job["id"] else ""
    yield "children", ", ".join(f"{count:,} {state}" for state, count in sorted(detail.children.items()))
    yield "checkpoint", _compact(job["checkpoint"]) if job["checkpoint"] is not None else ""
    yield "items", _items(job["counts"] or {})
    yield "tags", ", ".join(job["tags"] or ())
    yield "trace", job["trace"]


def _saga(job: Mapping[str, Any]) -> str:
    step = (job["kwargs"] or {}).get("step")
    part = f"step {step!r} of " if step else "the coordinator of " if job["kwargs"] else ""
    return f"{part}{job['subject_id']}: taskyard sagas show {job['subject_id']}"


def _state(job: Mapping[str, Any], now: dt.datetime) -> str:
    text = str(job["state"])
    if job["custom_state"] and job["custom_state"].lower() != text:
        text += f" ({job['custom_state']})"
    if job["cancel_requested_at"] and not job["finished_at"]:
        text += f", asked to stop {ago(job['cancel_requested_at'], now)}"
    return text


def _times(job: Mapping[str, Any], now: dt.datetime) -> Iterator[tuple[str, str]]:
    yield "created", f"{stamp(job['created_at'])} ({ago(job['created_at'], now)})"
    if job["available_at"] != job["created_at"]:
        yield "due", f"{stamp(job['available_at'])} ({ago(job['available_at'], now)})"
    if job["expires_at"]:
        yield "expires", f"{stamp(job['expires_at'])} ({ago(job['expires_at'], now)})"
    if job["started_at"]:
        ended = job["finished_at"] if job["finished_at"] and job["finished_at"] >= job["started_at"] else None
        took = f"ran {duration(ended - job['started_at'])}" if ended else ago(job["started_at"], now)
        yield "started", f"{stamp(job['started_at'])} ({took})"
    if job["finished_at"]:
        yield "ended", f"{stamp(job['finished_at'])} ({ago(job['finished_at'], now)})"


def _progress(job: Mapping[str, Any]) -> str:
    current, total, said = job["progress_current"], job["progress_total"], job["progress_message"]
    if current is None:
        return str(said)
    if job["state"] == "running" and job["progress_at"] and job["progress_at"] < job["started_at"]:
        said = f"{said} (as the attempt before left it)"
    if not total:
        return f"{number(current)} {said}".strip()
    return f"{bar(current / total)} {number(current)} of {number(total)} {said}".strip()


def _arguments(job: Mapping[str, Any]) -> str:
    if job["args"] is None:
        # Not for whoever is looking.
        return ""
    words = [_compact(value) for value in job["args"] or ()]
    words += [f"{name}={_compact(value)}" for name, value in (job["kwargs"] or {}).items()]
    return ", ".join(words) or "none"


def _items(counts: Mapping[str, Any]) -> str:
    """How many ended how, and below it those that failed."""
    said = ", ".join(f"{value:,} {name}" for name, value in counts.items() if isinstance(value, int))
    errors = counts.get("errors", ())
    lines = [f"{each.get('item')}: {each.get('error')}" for each in errors[:_MOST_ITEMS]]
    more = [f"and {len(errors) - _MOST_ITEMS:,} more; --json shows them"] if len(errors) > _MOST_ITEMS else []
    return "\n".join([said, *lines, *more])


def _limits(job: Mapping[str, Any]) -> str:
    soft, hard = job["soft_time_limit"], job["time_limit"]
    parts = [f"soft {duration(soft)}" if soft else "", f"hard {duration(hard)}" if hard else ""]
    return ", ".join(part for part in parts if part)


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 500 else f"{text[:500]}… ({len(text):,} characters; --json shows all)"
