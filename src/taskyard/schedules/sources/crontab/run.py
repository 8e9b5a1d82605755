"""The task that runs a line of a crontab file."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import quote

from taskyard.errors import CommandFailed, Discard, UnknownLine
from taskyard.jobs.current import current_job
from taskyard.schedules.sources.crontab.files import TASK, Entry, current, project_folder
from taskyard.schedules.sources.crontab.output import Output
from taskyard.schedules.sources.crontab.process import Call, TookTooLong, run
from taskyard.settings import get_settings
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import task

#: The shell of lines that need one, unless the file says ``SHELL=``.
_SHELL = "/bin/sh"


@task(
    name=TASK,
    # While a release is rolled out another worker may have it.
    retry=RetryPolicy(on=(UnknownLine,), max_retries=3, backoff=dt.timedelta(seconds=10), jitter=False),
)
def run_command(line: str, plugin: str = "") -> dict[str, Any]:
    """Run the command of one line of this worker's crontab files.

    A job names its line, never a command: whoever can write jobs can run what stands in the files, and nothing else.
    Returns exit code (0), output (its beginning and its end), its size in bytes, and the log file if there is one.
    Raises :class:`~taskyard.errors.CommandFailed`, :class:`~taskyard.errors.UnknownLine`, and ``OSError`` for a program
    or a log file that cannot be opened.
    """
    _, reading = current()
    if plugin and plugin not in reading.plugins:
        raise Discard(f"the plugin {plugin!r} is not active any more")
    entry = reading.entries.get(line)
    if entry is None:
        raise UnknownLine(line)
    job, output = current_job(), Output()
    call = _call(entry, job)
    with _log(entry, job.tenant, call.environment) as log:

        def take(chunk: bytes) -> None:
            output.take(chunk)
            if log is not None:
                log.write(chunk)

        try:
            code = run(call, take=take, check=job.raise_if_cancelled)
        except TookTooLong:
            raise CommandFailed(line, f"ended after its time limit of {call.limit:g} s", output.text()) from None
    if code:
        raise CommandFailed(line, _said(code), output.text())
    return {
        "exit_code": code, "output": output.text(), "output_bytes": output.size_bytes,
        "log": None if log is None else str(log.name),
    }  # fmt: skip


def _call(entry: Entry, job: Any) -> Call:
    command, environment = entry.line.command, {**os.environ, **entry.line.environment}
    environment["TASKYARD_TENANT"], environment["TASKYARD_JOB"] = job.tenant, str(job.id)
    shell = entry.line.environment.get("SHELL", _SHELL)
    own = entry.line.options.time_limit
    limit = get_settings().crontab_time_limit if own is None else own
    return Call(
        command.argv or (shell, "-c", command.script), environment, project_folder(), command.input.encode(),
        limit.total_seconds() or None,
    )  # fmt: skip


def _log(
    entry: Entry, tenant: str, environment: Mapping[str, str]
) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    """Where its output goes besides the job: as its line says, else a file of its own in the folder of the settings."""
    command, folder = entry.line.command, get_settings().crontab_logs
    if command.log:
        path = project_folder() / command.log_in(environment)
        return path.open("wb" if command.is_log_emptied else "ab", buffering=0)
    if not folder:
        return contextlib.nullcontext()
    name = ".".join(quote(part, safe="") for part in (*entry.name.split("/"), tenant) if part)
    path = project_folder() / folder / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab", buffering=0)


def _said(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
