"""What a check found, as Django says it: an id that stays, a hint, the section of the page about it."""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from django.core import checks

from taskyard.errors import ConfigurationError

#: Work is lost, never runs, or runs where it must not: errors under ``check --deploy``, warnings while developing.
FATAL = frozenset({"W003", "W006", "W016", "W018", "W019", "W020"})


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One message. ``where`` is a file and a line, or what else it is about."""

    #: ``E001``, ``W004``: E are errors always.
    number: str
    says: str
    hint: str = ""
    where: str = ""


#: Fatal ones of this run, which the check of ``--deploy`` raises: it runs behind all others.
_fatal: deque[checks.CheckMessage] = deque(maxlen=1000)


@functools.cache
def as_djangos(check: Callable[[], Iterable[Found]]) -> Callable[..., list[checks.CheckMessage]]:
    """A check as Django calls it, always the same one: apps may be made ready again, and Django keeps a set.

    Settings that cannot be read are the matter of E001 alone.
    """

    @functools.wraps(check)
    def run(app_configs: object = None, **_: Any) -> list[checks.CheckMessage]:
        try:
            return [message(found) for found in check()]
        except ConfigurationError:
            return []

    # Django asks the signature whether it takes keywords.
    del run.__wrapped__
    return run


def message(found: Found) -> checks.CheckMessage:
    """For Django; a warning that is fatal is kept for :func:`raise_fatal`."""
    kind = checks.Error if found.number.startswith("E") else checks.Warning
    hint = f"{found.hint} (docs/checks.md#{found.number.lower()})".lstrip()
    said = kind(found.says, hint=hint, obj=found.where or None, id=f"taskyard.{found.number}")
    if found.number in FATAL:
        _fatal.append(said)
    return said


def raise_fatal(app_configs: object = None, **_: Any) -> list[checks.CheckMessage]:
    """With ``--deploy``: what is fatal becomes an error, under the same id, so that one exception holds for both.

    Django tells no check whether it deploys, but runs those of ``--deploy`` last: this one finds what the others said.
    """
    while _fatal:
        _fatal.pop().level = checks.ERROR
    return []
