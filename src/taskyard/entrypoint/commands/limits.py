"""What ``queues`` and ``tenants`` have in common: limit, pause, resume."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from taskyard.entrypoint.arguments import actor_of, add_actor, add_reason
from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

#: How a limit is taken away.
_NONE = "none"


def add_verbs(verbs: Any, what: str, *, with_weight: bool = False) -> None:
    """Declare ``limit``, ``pause`` and ``resume`` of a ``queue`` or a ``tenant``."""
    limit = verbs.add_parser("limit", help=f"say how much of a {what} may run; noticed within a second")
    limit.add_argument("name", metavar=what.upper())
    add = functools.partial(limit.add_argument, default=argparse.SUPPRESS, metavar="N")
    if with_weight:
        add("--weight", type=float, help="its share against the others, where both wait (default: 1)")
    add("--max-running", type=_count, help=f"most jobs at a time; '{_NONE}' for any number")
    add("--rate", type=_number, help=f"most starts in --per; '{_NONE}' for any number")
    limit.add_argument("--per", type=_length, default=dt.timedelta(seconds=1), metavar="SECONDS",
                       help="the time of --rate (default: 1)")  # fmt: skip
    add_actor(limit)
    limit.set_defaults(run=functools.partial(set_limit, what=what))
    pause = verbs.add_parser("pause", help=f"feed nothing of a {what} to workers until it is resumed")
    pause.add_argument("names", nargs="+", metavar=what.upper())
    add_reason(pause, "shown wherever somebody asks why jobs wait")
    add_actor(pause)
    pause.set_defaults(run=functools.partial(pause_all, what=what))
    resume = verbs.add_parser("resume", help=f"feed a {what} again")
    resume.add_argument("names", nargs="+", metavar=what.upper())
    add_reason(resume)
    add_actor(resume)
    resume.set_defaults(run=functools.partial(resume_all, what=what))


def _number(text: str) -> float | None:
    return None if text == _NONE else float(text)


def _count(text: str) -> int | None:
    return None if text == _NONE else int(text)


def _length(text: str) -> dt.timedelta:
    try:
        return dt.timedelta(seconds=float(text))
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is more seconds than there are") from None


def set_limit(options: argparse.Namespace, screen: Screen, *, what: str) -> int:
    """Change what is given, keep the rest."""
    given = {name: value for name, value in vars(options).items() if name in ("weight", "max_running", "rate")}
    if not given:
        raise UsageError(f"say what is limited: --max-running or --rate{', or --weight' if what == 'tenant' else ''}")
    with refusing_odd_words():
        row = _verbs(what).limit(actor_of(options), options.name, per=options.per, **given)
    screen.line(f"{what} {options.name!r}: {limits_of(row)}.")
    return Exit.OK


def limits_of(row: Any) -> str:
    """What a row of settings allows, in words."""
    parts = [f"weight {row.weight:g}"] if hasattr(row, "weight") else []
    parts.append("any number of jobs at a time" if row.max_running is None else f"{row.max_running} jobs at a time")
    if row.rate is not None:
        parts.append(f"{row.rate:g} starts in {row.rate_seconds:g} s")
    return ", ".join(parts)


def pause_all(options: argparse.Namespace, screen: Screen, *, what: str) -> int:
    """Hold them back; 1 if all of them were paused already."""
    with refusing_odd_words():
        paused = _verbs(what).pause(actor_of(options), options.names, reason=options.reason)
    if not paused:
        screen.note("Nothing to do: already paused.")
        return Exit.WRONG
    screen.line(f"Paused {', '.join(options.names)}. Jobs already handed to a worker run to their end.")
    return Exit.OK


def resume_all(options: argparse.Namespace, screen: Screen, *, what: str) -> int:
    """Let them go; 1 if none of them was paused."""
    with refusing_odd_words():
        resumed = _verbs(what).resume(actor_of(options), options.names, reason=options.reason)
    if not resumed:
        screen.note("Nothing to do: not paused.")
        return Exit.WRONG
    screen.line(f"Resumed {', '.join(options.names)}. Feeders notice within a second.")
    return Exit.OK


def check_names(names: Sequence[str]) -> None:
    """Raises :class:`UsageError` for a queue that ``TASKYARD["QUEUES"]`` does not list."""
    from taskyard.operations import queues

    with refusing_odd_words():
        queues.check_names(names)


@contextlib.contextmanager
def refusing_odd_words() -> Iterator[None]:
    """Names and numbers that mean nothing are said on the command line: :class:`UsageError`."""
    from taskyard.errors import InvalidLimit, UnknownQueue, UnknownTenant

    try:
        yield
    except (InvalidLimit, UnknownQueue, UnknownTenant) as error:
        raise UsageError(str(error)) from error


def _verbs(what: str) -> Any:
    from taskyard.operations import queues, tenants

    return queues if what == "queue" else tenants
