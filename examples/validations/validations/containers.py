"""A container engine as small as can be: a folder for each container, and a group of processes that runs in it.

The processes hold a lock on their folder's ``alive`` from their first moment to their last, so the kernel says whether
they live, and whoever was given the number of one that is gone is left alone. Use your engine's client instead.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO

from django.conf import settings

#: Starts what follows it in the background: it outlives whoever started it, as a container does.
_DETACHED = 'echo $$ >group; "$@" </dev/null >log 2>&1 &'


def start(run: int, command: list[str]) -> None:
    """Start the container of a run, whose row is committed: what no row stands behind is an orphan."""
    folder = _folder(run)
    folder.mkdir(parents=True)
    with (folder / "alive").open("w") as lock:
        # Handed down to the processes, and theirs alone once this file is closed.
        fcntl.flock(lock, fcntl.LOCK_EX)
        shell = ["/bin/sh", "-c", _DETACHED, "container", *command]
        subprocess.run(shell, cwd=folder, pass_fds=[lock.fileno()], start_new_session=True, check=True)


def runs() -> list[int]:
    """Runs that have a container, dead or alive."""
    found = Path(settings.CONTAINERS).glob("run-*")
    return sorted(int(folder.name.removeprefix("run-")) for folder in found)


def is_alive(run: int) -> bool:
    try:
        with (_folder(run) / "alive").open() as lock:
            return _is_held(lock)
    except FileNotFoundError:
        return False


def remove(run: int) -> bool:
    """Kill it if it lives, wait until it is gone, and remove its folder; False if somebody else did."""
    folder = _folder(run)
    try:
        lock = (folder / "alive").open("a+")
    except FileNotFoundError:
        return False
    with lock:
        if _is_held(lock):
            os.killpg(int((folder / "group").read_text()), signal.SIGKILL)
            fcntl.flock(lock, fcntl.LOCK_SH)
    shutil.rmtree(folder)
    return True


def _folder(run: int) -> Path:
    return Path(settings.CONTAINERS) / f"run-{run}"


def _is_held(lock: IO[str]) -> bool:
    """Whether its processes hold it; whoever asks shares it, and is not taken for one of them."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
