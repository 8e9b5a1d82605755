"""One job finds the files, one job each counts their words."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskyard import RetryPolicy, current_job, enqueue_many, task

from .models import File
from .words import count_words, store, text_files

#: Where tasks note each start and end, so that `demo --check` can tell what really ran.
JOURNAL = Path(__file__).resolve().parent.parent / "journal.jsonl"


@task(soft_time_limit=timedelta(minutes=5), unique=True)
def build(folder: str, limit: int | None = None) -> dict[str, Any]:
    """Enqueue a job for each file that is not indexed yet; safe to run again."""
    with noted():
        job = current_job()
        paths = text_files(Path(folder), limit)
        job.progress(0, len(paths), "looking for files")
        known = set(File.objects.values_list("path", flat=True))
        report = enqueue_many(file, ({"path": path} for path in paths if path not in known))
        job.progress(len(paths), len(paths), "all enqueued")
        return {"files": len(paths), "enqueued": report.created}


@task(
    retry=RetryPolicy(on=(OSError, UnicodeDecodeError), max_retries=1, backoff=timedelta(seconds=1), jitter=False),
    soft_time_limit=timedelta(seconds=60),
    unique="path",
)
def file(path: str) -> dict[str, Any]:
    """Count the words of one file."""
    with noted():
        began = time.perf_counter()
        raw = Path(path).read_bytes()
        counts = count_words(raw.decode("utf-8"))
        store(path, counts, size_bytes=len(raw), seconds=time.perf_counter() - began)
        return {"words": counts.total(), "different": len(counts)}


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Append start and end of this attempt to the journal, a file no transaction can take back."""
    _note("start")
    what = "error"
    try:
        yield
        what = "end"
    finally:
        _note(what)


def _note(what: str) -> None:
    job = current_job()
    line = {
        "job": str(job.id), "attempt": job.attempt, "what": what, "group": os.getpgid(0), "at": time.monotonic(),
    }  # fmt: skip
    handle = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
    finally:
        os.close(handle)
