"""What becomes of each due time: pure rules, without a clock and without rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from taskyard.schedules.recurrence import Due

#: A due time that is decided at most so late is not missed: a scheduler may die and another take over.
ON_TIME = dt.timedelta(minutes=1)
#: Due times of one schedule that are decided in one turn; where there are more, the next turn goes on.
MOST_AT_ONCE = 1_000
#: Largest ``last_n``.
MOST_LAST = 100


class Decision(StrEnum):
    """Stored names."""

    FIRED = "fired"
    COALESCED = "coalesced"
    BUFFERED = "buffered"
    SKIPPED = "skipped"
    MISSED = "missed"
    SUPPRESSED = "suppressed"
    ERRORED = "errored"


class Overlap(StrEnum):
    """What happens to a due time while the job of an earlier one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_RUNNING = "cancel_running"
    REPLACE_PENDING = "replace_pending"


class CatchUp(StrEnum):
    """What happens to due times that nobody decided when they came."""

    NONE = "none"
    ONE = "one"
    ALL = "all"
    LAST_N = "last_n"


class Rules(NamedTuple):
    """What a definition says of late due times."""

    catch_up: CatchUp = CatchUp.ONE
    #: For ``last_n``.
    last: int = 1
    #: How late a due time may be and still run; None: however late.
    window: dt.timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One due time, and what becomes of it; ``fired`` is a wish until the job is written."""

    due: Due
    decision: Decision
    reason: str = ""


def late_ones(
    dues: Sequence[Due], rules: Rules, *, now: dt.datetime, is_cut: bool
) -> tuple[list[Verdict], Sequence[Due]]:
    """Decide about due times that came to pass unnoticed; what is left over belongs to the next turn.

    ``dues`` are in order and all of them late; ``is_cut`` says that more of them follow, of which nothing is known.
    """
    kept = 0 if rules.catch_up in (CatchUp.NONE, CatchUp.ALL) else rules.last if rules.catch_up == CatchUp.LAST_N else 1
    rest: Sequence[Due] = ()
    if is_cut and kept:
        # Which are the last ones is not known yet.
        dues, rest, kept = dues[:-kept], dues[-kept:], 0
    verdicts = []
    for number, due in enumerate(dues):
        lateness = now - due.at
        if rules.catch_up == CatchUp.NONE:
            verdicts.append(Verdict(due, Decision.MISSED, f"{_words(lateness)} late, and nothing is caught up"))
        elif rules.window is not None and lateness > rules.window:
            verdicts.append(Verdict(due, Decision.MISSED, f"{_words(lateness)} late, beyond the window"))
        elif rules.catch_up == CatchUp.ALL or number >= len(dues) - kept:
            verdicts.append(Verdict(due, Decision.FIRED, f"caught up, {_words(lateness)} late"))
        else:
            verdicts.append(Verdict(due, Decision.COALESCED, "a later one runs in its place"))
    return verdicts, rest


def decide(
    dues: Sequence[Due], rules: Rules, *, now: dt.datetime, is_cut: bool = False
) -> tuple[list[Verdict], Sequence[Due]]:
    """A verdict for each due time, in order, and those that the next turn decides.

    What is at most :data:`ON_TIME` late fires under every policy. Earlier ones fall under ``rules``, and where
    ``one`` would run the last of them, one that is on time runs in its place.
    """
    late = [due for due in dues if now - due.at > ON_TIME]
    on_time = dues[len(late) :]
    verdicts, rest = late_ones(late, rules, now=now, is_cut=is_cut and not on_time)
    if on_time and rules.catch_up == CatchUp.ONE:
        verdicts = [
            Verdict(v.due, Decision.COALESCED, "a later one runs in its place") if v.decision == Decision.FIRED else v
            for v in verdicts
        ]
    return [*verdicts, *(Verdict(due, Decision.FIRED) for due in on_time)], rest


def _words(span: dt.timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
