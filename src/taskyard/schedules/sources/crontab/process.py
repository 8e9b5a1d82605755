"""A command in a process group of its own: watched, bounded in time, and ended as a whole whatever happens here."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

#: How often a command is looked at that says nothing.
_TICK_SECONDS = 0.5
#: From the request to end until it is made to.
_GRACE_SECONDS = 5.0
#: How long what it left behind in its pipe is read.
_DRAIN_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024
#: Leads the group. It waits for a line from us, and if none comes, because we are gone, it ends all that is in there.
_GUARD = 'trap "" TERM INT HUP; read line || kill -KILL 0'


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A program, and what it is given."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    input: bytes = b""
    #: Seconds; None: for ever.
    limit: float | None = None


class TookTooLong(Exception):
    """It ran for longer than it may, and was ended."""


def run(call: Call, *, take: Callable[[bytes], object], check: Callable[[], object]) -> int:
    """Run it to its end; its exit code, negative for the signal that ended it.

    ``take`` is given what it writes, both outputs as they come; ``check`` is called about twice a second. If that
    raises, or anything else does, or this process is killed, the whole group is killed: what it started is in there,
    unless that left it. After its own end what it left running in the background goes on. Raises
    :class:`TookTooLong` after asking the group to end (SIGTERM) and five seconds more, and ``OSError`` for what cannot
    be started.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with _group() as leader:
            process = subprocess.Popen(
                call.argv, cwd=call.folder, env=call.environment, process_group=leader, bufsize=0,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            _give(process, call.input)
            _watch(process, leader, limit=call.limit, take=take, check=check)
            return process.returncode
    finally:
        if process is not None:
            _let_go(process)


@contextlib.contextmanager
def _group() -> Iterator[int]:
    """The id of a new process group, for programs to be started in; all in it is killed if this block raises.

    In the group from the first to the last moment is a shell at the other end of a pipe, so that it is killed too
    when this process is, by whatever: no handler of ours would run then.
    """
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD], process_group=0, bufsize=0,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert guard.stdin is not None
    try:
        yield guard.pid
        # Gone already if the command killed its own group.
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(b"\n")
    except BaseException:
        # The guard is not reaped yet, so the number is still this group's.
        _signal(guard.pid, signal.SIGKILL)
        raise
    finally:
        guard.stdin.close()
        guard.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _give(process: subprocess.Popen[bytes], text: bytes) -> None:
    """A line is shorter than what a pipe holds: this does not wait."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(text)


def _watch(
    process: subprocess.Popen[bytes], group: int, *, limit: float | None, take: Callable[[bytes], object],
    check: Callable[[], object],
) -> None:  # fmt: skip
    until = None if limit is None else time.monotonic() + limit
    is_asked = False
    next_check = time.monotonic() + _TICK_SECONDS
    while process.poll() is None:
        if not _pump(process, take, _TICK_SECONDS):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_TICK_SECONDS)
        now = time.monotonic()
        if now >= next_check:
            next_check = now + _TICK_SECONDS
            check()
        if until is not None and now >= until:
            if is_asked:
                break
            _signal(group, signal.SIGTERM)
            is_asked, until = True, now + _GRACE_SECONDS
    # Somebody else may hold the other end, and write for ever.
    until = time.monotonic() + _DRAIN_SECONDS
    while _pump(process, take, 0.0) and time.monotonic() < until:
        continue
    if is_asked:
        raise TookTooLong


def _pump(process: subprocess.Popen[bytes], take: Callable[[bytes], object], seconds: float) -> bool:
    """Take what comes within that time; False if nothing more will come, or without waiting nothing did."""
    pipe = process.stdout
    assert pipe is not None
    if pipe.closed:
        return False
    # Not select(): that takes no numbers above 1,023.
    waiter = select.poll()
    waiter.register(pipe, select.POLLIN)
    if not waiter.poll(seconds * 1_000):
        return seconds > 0
    chunk = os.read(pipe.fileno(), _CHUNK_BYTES)
    if not chunk:
        pipe.close()
        return False
    take(chunk)
    return True


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
