"""Children that do not outlive the process that started them, even if that one is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

#: Set for children where the kernel cannot tell them: the process whose end is theirs.
VARIABLE = "TASKYARD_SUPERVISOR_PID"

_PR_SET_PDEATHSIG = 1
_EVERY_SECONDS = 1.0


def child_setup() -> Callable[[], None] | None:
    """What a new child does before it becomes its program (for ``Popen(preexec_fn=...)``); None off Linux.

    The kernel ties it to the *thread* that forked: start children from the main thread.
    """
    if sys.platform != "linux":
        return None
    # Looked up here: after a fork beside threads nothing may be imported or allocated that needs a lock.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def setup() -> None:
        # SIGTERM, so that a worker still gives back what it has in hand.
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return setup


def watch_supervisor() -> None:
    """In a child: end as at SIGTERM when the supervisor is gone; does nothing without one, or on Linux."""
    supervisor = os.environ.get(VARIABLE, "")
    if sys.platform != "linux" and supervisor.isdecimal():
        threading.Thread(target=_watch, args=(int(supervisor),), name="taskyard-parent", daemon=True).start()


def _watch(supervisor: int) -> None:
    while os.getppid() == supervisor:
        threading.Event().wait(_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
