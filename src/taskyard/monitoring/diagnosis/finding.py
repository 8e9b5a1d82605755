"""What one check found, and what to do about it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from taskyard.monitoring.troubles import KNOWN, explain


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    #: Works, with a drawback worth a look.
    WARN = "warn"
    #: Does not work, or not safely.
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    level: Level
    finding: str
    #: What to do, as a sentence; empty when nothing is.
    fix: str = ""
    #: What was counted, for programs.
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Check = Callable[[], Iterable[Finding]]


def ok(name: str, finding: str, *, facts: Mapping[str, Any] | None = None) -> Finding:
    """All is well."""
    return Finding(name, Level.OK, finding, facts=facts or {})


def warn(name: str, finding: str, *, fix: str, facts: Mapping[str, Any] | None = None) -> Finding:
    """Worth a look."""
    return Finding(name, Level.WARN, finding, fix, facts or {})


def fail(name: str, finding: str, *, fix: str, facts: Mapping[str, Any] | None = None) -> Finding:
    """To be mended."""
    return Finding(name, Level.FAIL, finding, fix, facts or {})


def look(name: str, check: Check) -> Iterator[Finding]:
    """Run one check; a known error is a finding too."""
    try:
        yield from check()
    except KNOWN as error:
        known = explain(error)
        if known is None:
            raise
        finding, _, fix = known.says.partition("\n")
        yield fail(name, finding, fix=fix.strip())
