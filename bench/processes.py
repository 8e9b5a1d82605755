"""What a tree of processes uses, read from /proc (Linux)."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the start, dead children included; resident memory of each living process in kB."""

    cpu_seconds: float
    rss_kb: dict[int, int]
    #: Memory of the whole tree with shared pages counted once.
    pss_kb: int


def usage(roots: list[int]) -> Usage:
    rss, pss = {}, 0
    cpu = cpu_seconds(roots)
    for pid in tree(roots):
        try:
            rss[pid] = _kb(Path(f"/proc/{pid}/status"), "VmRSS:")
            pss += _kb(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
        except OSError:
            continue
    return Usage(cpu, rss, pss)


def cpu_seconds(roots: list[int]) -> float:
    """The cheap part of it, for a moment at which jobs run."""
    seconds = 0.0
    for pid in tree(roots):
        try:
            # utime, stime, and those of children it has reaped.
            seconds += sum(int(value) for value in _stat(pid)[11:15]) / _TICK
        except OSError:
            continue
    return seconds


def tree(roots: list[int]) -> list[int]:
    """These processes and all that came of them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    found, left = [], list(roots)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def children(pid: int) -> list[int]:
    return [child for child in tree([pid]) if child != pid and int(_stat(child)[1]) == pid]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: [0] is the state, [1] the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kb(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
