"""The work every contestant does, without a framework in sight. The files are named by the environment."""

import os
import struct
import time
from pathlib import Path
from typing import Any

#: Written by :func:`stamp`: when it was sent, when it started; nanoseconds of the machine's monotonic clock.
STAMP = struct.Struct("<qq")


def append(_: int) -> None:
    """Append one byte. Its argument only travels."""
    _write("BENCH_BYTES", b".")


def stamp(sent_ns: int) -> None:
    """Write down how long it took to get here; the clock is one for all processes of a machine."""
    _write("BENCH_STAMPS", STAMP.pack(sent_ns, time.monotonic_ns()))


def hold(seconds: int) -> None:
    """The first time, sleep until killed; the next time, return. Each start leaves a line: time and process."""
    marks = Path(os.environ["BENCH_MARKS"])
    is_first = not marks.exists()
    _write("BENCH_MARKS", f"{time.monotonic_ns()} {os.getpid()}\n".encode())
    if is_first:
        time.sleep(seconds)


def rest(seconds: float) -> None:
    """Take a while and no CPU."""
    time.sleep(seconds)


def spins_for(seconds: float) -> int:
    """Turns of :func:`_spin` that take so long."""
    best = min(_timed(10_000) for _ in range(50)) / 10_000
    return max(1, round(seconds / best))


def items(job: Any, items: int, spins: int, turns: int) -> dict[str, Any]:
    """Work through items silently, with ``progress()`` and by ``track()``, in short turns.

    It does nothing but compute, so CPU time is run time, without what else the machine does. ``silent``, ``progress``
    and ``track`` are that of each turn in this thread, ``beside`` what other threads of the process took of the whole.
    """
    took: dict[str, Any] = {"silent": [], "progress": [], "track": []}
    clock, here, whole = time.monotonic(), time.thread_time(), time.process_time()
    for _ in range(turns):
        for how, times in took.items():
            started = time.thread_time()
            _work_through(job, how, items, spins)
            times.append(time.thread_time() - started)
    here, whole = time.thread_time() - here, time.process_time() - whole
    return {**took, "beside": (whole - here) / whole, "clock": time.monotonic() - clock}


def _work_through(job: Any, how: str, items: int, spins: int) -> None:
    if how == "track":
        for _ in job.track(range(items)):
            _spin(spins)
    elif how == "progress":
        for number in range(items):
            _spin(spins)
            job.progress(number, items)
    else:
        for _ in range(items):
            _spin(spins)


def _timed(spins: int) -> float:
    started = time.perf_counter()
    _spin(spins)
    return time.perf_counter() - started


def _spin(turns: int) -> int:
    total = 0
    for number in range(turns):
        total += number
    return total


def _write(variable: str, data: bytes) -> None:
    file = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, data)
    os.close(file)
