"""A container engine as small as can be: a folder for each container, and a process that runs in it.

The process holds a lock on its folder's ``alive`` from its first moment to its last, so the kernel says whether it
lives, and a process that was given the number of one that is gone is left alone. Use your engine's client instead.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from django.conf import settings

#: Starts what follows it in the background, so that it outlives whoever started it, as a container does.
_DETACHED = '"$@" </dev/null >log 2>&1 & echo $! >pid'


def start(run: int, command: list[str]) -> None:
    """Start the container of a run, whose row is committed: what no row stands behind is an orphan."""
    folder = _folder(run)
    folder.mkdir(parents=True)
    with (folder / "alive").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shell = ["/bin/sh", "-c", _DETACHED, "container", *command]
        subprocess.run(shell, cwd=folder, pass_fds=[lock.fileno()], check=True)


def runs() -> list[int]:
    """Runs that have a container, dead or alive."""
    found = Path(settings.CONTAINERS).glob("run-*")
    return sorted(int(folder.name.removeprefix("run-")) for folder in found)


def is_alive(run: int) -> bool:
    try:
        with (_folder(run) / "alive").open() as lock:
            return not _take(lock)
    except FileNotFoundError:
        return False


def remove(run: int) -> None:
    """Kill it if it lives, wait until it is gone, and remove its folder."""
    folder = _folder(run)
    with (folder / "alive").open("a") as lock:
        if not _take(lock):
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
            fcntl.flock(lock, fcntl.LOCK_EX)
    shutil.rmtree(folder)


def _folder(run: int) -> Path:
    return Path(settings.CONTAINERS) / f"run-{run}"


def _take(lock: IO[str]) -> bool:
    """Whether nobody else holds it; it is given back when the file is closed."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
