"""Where in the project's own code an error came from."""

from __future__ import annotations

import sysconfig
from pathlib import PurePath
from types import TracebackType

#: So many frames count, the deepest ones: what called them may be one of many.
MOST_FRAMES = 3

_OF_OTHERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PACKAGES = frozenset({"site-packages", "dist-packages"})
#: Between the worker and the body, wherever they are installed.
_NEVER = frozenset({"taskyard", "celery", "kombu", "billiard"})


def own_frames(traceback: TracebackType | None) -> tuple[str, ...]:
    """``module:function`` of the deepest frames of the project's own code, the deepest last.

    Not the standard library's, nor installed packages', unless it is the package of the first frame, which is the task:
    projects are installed as well. Empty where there are none.
    """
    frames: list[tuple[str, str]] = []
    home = ""
    while traceback is not None:
        frame = traceback.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        root = module.partition(".")[0]
        home = home or root
        if root not in _NEVER and (root == home or not _is_of_others(frame.f_code.co_filename)):
            frames.append((module, frame.f_code.co_qualname))
        traceback = traceback.tb_next
    return tuple(f"{module}:{name}" for module, name in frames[-MOST_FRAMES:])


def _is_of_others(file: str) -> bool:
    return file.startswith("<") or file.startswith(_OF_OTHERS) or not _PACKAGES.isdisjoint(PurePath(file).parts)
