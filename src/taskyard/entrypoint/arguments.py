"""Words on the command line that become values."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import re
import uuid
from typing import TYPE_CHECKING

from taskyard.entrypoint.failures import UsageError
from taskyard.jobs.ids import job_id
from taskyard.jobs.states import State

if TYPE_CHECKING:
    from taskyard.jobs.queries import JobFilter

#: What a clock may say in place of a time.
NOW, BY_HAND = "now", "by hand"
_YEAR = dt.timedelta(days=366)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def length(text: str) -> dt.timedelta:
    """``90s``, ``15m``, ``12h``, ``30d`` or ``2w``; for argparse."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time; write 90s, 15m, 12h, 30d or 2w")
    return dt.timedelta(**{_UNITS[match[2]]: float(match[1])})


def due(text: str) -> dt.datetime | str:
    """When a clock says it is due: :data:`NOW`, an aware ISO time, or by the name of a CronJob's job; for argparse.

    Kubernetes ends that name with the due time in minutes since 1970, unless somebody made the job by hand: that is
    :data:`BY_HAND`.
    """
    if text == NOW:
        return NOW
    if text.startswith("job:"):
        minutes = re.fullmatch(r"job:.*-(\d{8})", text)
        moment = dt.datetime.fromtimestamp(int(minutes[1]) * 60, dt.UTC) if minutes else None
        # Somebody's own number: a date read as minutes is decades away.
        return moment if moment and abs(dt.datetime.now(dt.UTC) - moment) < _YEAR else BY_HAND
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write now, or 2026-01-31T08:00:00+00:00") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} must say its time zone; write {text}Z if that is UTC")
    return moment


def since(text: str) -> dt.datetime:
    """A length of time before now, or an ISO date or time (UTC unless it says otherwise); for argparse."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return dt.datetime.now(dt.UTC) - length(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no time; write a length (2h, 30d) or a date (2026-01-31, 2026-01-31T08:00)"
            ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def count(text: str) -> int:
    """A whole number above zero; for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def one_id(text: str) -> uuid.UUID:
    """A job's id, as Taskyard or as Celery spells it."""
    return job_id(text.strip())


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_filter(parser: argparse.ArgumentParser) -> None:
    """The options that choose jobs."""
    names = [state.value for state in State]
    parser.add_argument("--state", action="append", choices=names, default=[], metavar="STATE",
                        help=f"may be repeated; one of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--task", default="", help="a task's name, or a prefix followed by *")
    parser.add_argument("--queue", default="")
    add_tenant(parser)
    parser.add_argument("--since", type=since, default=None, metavar="WHEN",
                        help="created since (2h, 30d, 2026-01-31); with only final states: ended since")  # fmt: skip


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """``--tenant``."""
    parser.add_argument("--tenant", default=None, metavar="NAME",
                        help="see this tenant's jobs alone: others do not exist")  # fmt: skip


def chosen(options: argparse.Namespace) -> JobFilter:
    """What :func:`add_filter` was given."""
    # Models can be imported once Django is set up; parsing comes before that.
    from taskyard.jobs.queries import JobFilter

    return JobFilter(
        states=tuple(options.state), task=options.task, queue=options.queue, tenant=options.tenant, since=options.since
    )


def chosen_ids(options: argparse.Namespace) -> list[uuid.UUID]:
    """The ids given one by one; raises :class:`UsageError` for neither ids nor a filter, and for both.

    ``--tenant`` goes with both: it says who is looking.
    """
    if options.ids and not dataclasses.replace(chosen(options), tenant=None).is_empty:
        raise UsageError("Name jobs by id or choose them by --state, --task, --queue, --since; not both.")
    if not options.ids and chosen(options).is_empty:
        raise UsageError("Which jobs? Give ids, or choose them by --state, --task, --queue, --tenant or --since.")
    return [one_id(text) for text in options.ids]
