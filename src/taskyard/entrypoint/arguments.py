"""Words on the command line that become values."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import getpass
import json
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskyard.entrypoint.failures import UsageError
from taskyard.jobs.ids import job_id
from taskyard.jobs.states import State

if TYPE_CHECKING:
    from taskyard.jobs.queries import JobFilter
    from taskyard.operations import Actor

#: What a clock may say in place of a time.
NOW, BY_HAND = "now", "by hand"
_YEAR = dt.timedelta(days=366)
_CHOOSE = "--state, --task, --queue, --since, --batch, --group"
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


def json_of(kind: type) -> Callable[[str], Any]:
    """JSON of one kind, a ``list`` or a ``dict``; for argparse."""

    def read(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from None
        if not isinstance(value, kind):
            raise argparse.ArgumentTypeError(f"{text!r} must be JSON of a {'list' if kind is list else 'dict'}")
        return value

    return read


def rate(text: str) -> float:
    """A number above zero; for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def one_id(text: str) -> uuid.UUID:
    """A job's id, as Taskyard or as Celery spells it."""
    return job_id(text.strip())


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_actor(parser: argparse.ArgumentParser) -> None:
    """``--as``."""
    parser.add_argument("--as", dest="acts_as", default="", metavar="USER",
                        help="with this user's permissions and tenant (default: an operator with all)")  # fmt: skip


def add_reason(parser: argparse.ArgumentParser, text: str = "written into the audit") -> None:
    """``--reason``."""
    parser.add_argument("--reason", default="", help=text)


def add_order(parser: argparse.ArgumentParser) -> None:
    """How something is done to many jobs: ``--dry-run``, ``--rate`` and ``--background``."""
    parser.add_argument("--dry-run", action="store_true", help="say which jobs are meant, change nothing")
    parser.add_argument("--rate", type=rate, default=None, metavar="N", help="at most so many a second")
    parser.add_argument("--background", action="store_true", help="let a worker do it; cancel that job to abort")


def actor_of(options: argparse.Namespace) -> Actor:
    """Who acts: the user of ``--as``, else whoever sits at the terminal; within the tenant of ``--tenant``."""
    from django.contrib.auth import get_user_model

    from taskyard.operations import Actor

    actor = Actor.system(_account() or "somebody at a terminal", via="cli")
    if options.acts_as:
        users = get_user_model()._default_manager
        user = users.filter(**{users.model.USERNAME_FIELD: options.acts_as}).first()
        if user is None:
            raise UsageError(f"There is no user {options.acts_as!r}.")
        actor = Actor.of_user(user, via="cli")
    return actor.within(getattr(options, "tenant", None))


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


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
    parser.add_argument("--batch", default="", metavar="ID", help="members of this batch")
    parser.add_argument("--group", default="", metavar="GROUP", help="what stands failed in this group of failures")


def add_tenant(parser: argparse.ArgumentParser) -> None:
    """``--tenant``."""
    parser.add_argument("--tenant", default=None, metavar="NAME",
                        help="see this tenant's jobs alone: others do not exist")  # fmt: skip


def chosen(options: argparse.Namespace) -> JobFilter:
    """What :func:`add_filter` was given."""
    # Models can be imported once Django is set up; parsing comes before that.
    from taskyard.jobs.queries import JobFilter

    return JobFilter(
        states=tuple(options.state), task=options.task, queue=options.queue, tenant=options.tenant,
        since=options.since, group=options.group, batch=one_id(options.batch) if options.batch else None,
    )  # fmt: skip


def chosen_ids(options: argparse.Namespace) -> list[uuid.UUID]:
    """The ids given one by one; raises :class:`UsageError` for neither ids nor a filter, and for both.

    ``--tenant`` goes with both: it says who is looking.
    """
    if options.ids and not dataclasses.replace(chosen(options), tenant=None).is_empty:
        raise UsageError(f"Name jobs by id or choose them by {_CHOOSE}; not both.")
    if not options.ids and chosen(options).is_empty:
        raise UsageError(f"Which jobs? Give ids, or choose them by {_CHOOSE} or --tenant.")
    return [one_id(text) for text in options.ids]


def named_schedule(options: argparse.Namespace, actor: Actor) -> Any:
    """The one of that name that exists for the actor; raises :class:`UsageError`."""
    from taskyard.operations import schedules

    rows = list(schedules.visible(actor).filter(name=options.name)[:2])
    if not rows:
        raise UsageError(f"There is no schedule {options.name!r}: taskyard schedules list shows them.")
    if len(rows) > 1:
        raise UsageError(f"Several tenants have a schedule {options.name!r}: name one with --tenant.")
    return rows[0]
