"""What a person may say of a group of failures, and what is left of it later: pure."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Stored as its lower-case name; final once landed."""

    #: Somebody has to look. New groups, and those that fail again after they were resolved or their snooze was over.
    OPEN = "open"
    #: Nobody wants to see it until a time, or until the next release.
    SNOOZED = "snoozed"
    #: Somebody mended it. Its next failure opens it again.
    RESOLVED = "resolved"


class Said(NamedTuple):
    """What a group's row says."""

    state: str
    #: Of a snooze: its end, or None until another release runs than this one.
    snoozed_until: dt.datetime | None
    snoozed_release: str


def state_now(said: Said, *, now: dt.datetime, release: str) -> State:
    """The state of a group that was left like that: a snooze ends by itself."""
    if said.state != State.SNOOZED:
        return State(said.state)
    is_over = said.snoozed_until <= now if said.snoozed_until is not None else said.snoozed_release != release
    return State.OPEN if is_over else State.SNOOZED


def is_reopened(said: Said, *, now: dt.datetime, release: str) -> bool:
    """Whether a failure now opens the group again."""
    current = state_now(said, now=now, release=release)
    return current == State.RESOLVED or (said.state == State.SNOOZED and current == State.OPEN)
