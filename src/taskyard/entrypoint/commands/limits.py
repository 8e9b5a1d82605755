"""What ``queues`` and ``tenants`` have in common: limit, pause, resume."""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import getpass
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.failures import Exit, UsageError
from taskyard.entrypoint.screen import Screen

if TYPE_CHECKING:
    from taskyard.jobs.detail import HeldBack
    from taskyard.outbox.queries import Hold

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
    limit.set_defaults(run=functools.partial(set_limit, what=what))
    pause = verbs.add_parser("pause", help=f"feed nothing of a {what} to workers until it is resumed")
    pause.add_argument("names", nargs="+", metavar=what.upper())
    pause.add_argument("--reason", default="", help="shown wherever somebody asks why jobs wait")
    pause.set_defaults(run=functools.partial(pause_all, what=what))
    resume = verbs.add_parser("resume", help=f"feed a {what} again")
    resume.add_argument("names", nargs="+", metavar=what.upper())
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
    from taskyard.errors import InvalidLimit

    given = {name: value for name, value in vars(options).items() if name in ("weight", "max_running", "rate")}
    if not given:
        raise UsageError(f"say what is limited: --max-running or --rate{', or --weight' if what == 'tenant' else ''}")
    _check(what, [options.name])
    try:
        row = _settings(what).limit(options.name, per=options.per, **given)
    except InvalidLimit as error:
        raise UsageError(str(error)) from error
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
    _check(what, options.names)
    now = dt.datetime.now(dt.UTC)
    if not _settings(what).pause(options.names, now, by=user(), reason=options.reason):
        screen.note("Nothing to do: already paused.")
        return Exit.WRONG
    screen.line(f"Paused {', '.join(options.names)}. Jobs already handed to a worker run to their end.")
    return Exit.OK


def resume_all(options: argparse.Namespace, screen: Screen, *, what: str) -> int:
    """Let them go; 1 if none of them was paused."""
    if not _settings(what).resume(options.names):
        screen.note("Nothing to do: not paused.")
        return Exit.WRONG
    screen.line(f"Resumed {', '.join(options.names)}. Feeders notice within a second.")
    return Exit.OK


def paused_because(row: Any, what: str) -> str:
    """Who paused a queue or tenant, when and why, in one sentence."""
    by = f" by {row.paused_by}" if row.paused_by else ""
    why = f": {row.reason}" if row.reason else ""
    return f"{what} {row.name!r} is paused since {row.paused_at:%Y-%m-%d %H:%M} UTC{by}{why}"


def held_back(queue: str, tenant: str, *, is_operator: bool = True) -> HeldBack:
    """What holds back jobs of this queue and tenant. A tenant is not told how much of a queue others have out."""
    from taskyard.jobs.detail import HeldBack
    from taskyard.outbox.queries import find_holds

    holds = find_holds(queue, tenant)
    stopped = [_told(hold, is_operator) for hold in holds if hold.is_stopped]
    limited = [_told(hold, is_operator) for hold in holds if hold.is_holding and (is_operator or hold.kind == "tenant")]
    return HeldBack(stopped="".join(stopped[:1]), limited="".join(limited[:1]))


def _told(hold: Hold, is_operator: bool) -> str:
    return f"{why_held(hold)}; {mend(hold)}" if is_operator else why_held(hold)


def why_held(hold: Hold) -> str:
    """Why jobs of a queue or a tenant wait, as a sentence without its end."""
    who = f"{hold.kind} {hold.name!r}"
    if hold.paused_at is not None:
        return paused_because(hold, hold.kind)
    if hold.max_running == 0:
        return f"{who} is limited to no jobs at a time"
    if hold.is_full:
        return f"{who} has {hold.out:,} of at most {hold.max_running:,} jobs running or in the broker"
    return f"{who} is limited to {hold.rate:g} starts in {hold.rate_seconds:g} s"


def mend(hold: Hold) -> str:
    """The command that lets it go on, as a sentence without its end."""
    name = shlex.quote(hold.name)
    if hold.paused_at is not None:
        return f"when it may go on: taskyard {hold.kind}s resume {name}"
    if hold.is_full:
        return f"to allow more: taskyard {hold.kind}s limit {name} --max-running N (or {_NONE})"
    return f"to allow more: taskyard {hold.kind}s limit {name} --rate N --per {hold.rate_seconds:g} (or --rate {_NONE})"


def check_names(names: Sequence[str]) -> None:
    """Raises :class:`UsageError` for a queue that ``TASKYARD["QUEUES"]`` does not list."""
    from taskyard.errors import UnknownQueue
    from taskyard.settings import get_settings
    from taskyard.tasks.doors import door

    settings = get_settings()
    known = [*settings.queues, *settings.handover, door("default_queue")()]
    for name in names:
        if settings.queues and name not in known:
            raise UsageError(str(UnknownQueue(name, known)))


def _check(what: str, names: Sequence[str]) -> None:
    if what == "queue":
        check_names(names)
    else:
        check_tenants(names)


def check_tenants(names: Sequence[str]) -> None:
    """Raises :class:`UsageError` for a tenant that is unknown and has no job that waits or runs."""
    from taskyard.errors import TaskyardError, UnknownTenant
    from taskyard.jobs.models import Job
    from taskyard.tenancy import tenant_context
    from taskyard.tenancy.context import find_tenancy

    for name in names if find_tenancy() is not None else ():
        try:
            with tenant_context(name):
                continue
        except UnknownTenant as error:
            if not Job.objects.for_tenant(name).active().exists():
                raise UsageError(str(error)) from None
        except TaskyardError:
            # Known, and not to be entered now.
            continue


def _settings(what: str) -> Any:
    from taskyard.outbox.models import QueueSetting, TenantSetting

    return (QueueSetting if what == "queue" else TenantSetting).objects


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
