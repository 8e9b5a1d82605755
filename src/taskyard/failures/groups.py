"""What a person says of a group of failures; each returns whether there is such a group.

A group is everybody's: these are for operators, not for somebody who acts for one tenant.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from taskyard.errors import NoRelease, TaskyardError
from taskyard.failures.models import FailureGroup
from taskyard.failures.states import State
from taskyard.jobs.redaction import redact_text
from taskyard.settings import get_settings

_SAID = {"snoozed_until": None, "snoozed_release": "", "reopened_at": None}


def snooze(fingerprint: str, *, until: dt.datetime | None, now: dt.datetime) -> bool:
    """Leave a group out of what is open, until a time or, with None, until another release fails with it.

    Its jobs stand failed as before. When the snooze is over the group is open again, failing or not.
    Raises :class:`NoRelease`, and :class:`~taskyard.errors.TaskyardError` for a time that is over or has no zone.
    """
    release = get_settings().release
    if until is None and not release:
        raise NoRelease
    if until is not None and (until.tzinfo is None or until <= now):
        raise TaskyardError(f"Failures can be snoozed until a time to come that has a time zone, not until {until}.")
    of_release = release if until is None else ""
    return _say(fingerprint, **_SAID | {"state": State.SNOOZED, "snoozed_until": until, "snoozed_release": of_release})


def resolve(fingerprint: str) -> bool:
    """Say that its cause is mended; the next failure opens the group again. Its jobs stand failed until retried."""
    return _say(fingerprint, state=State.RESOLVED, **_SAID)


def reopen(fingerprint: str) -> bool:
    """Take back a snooze or a resolve."""
    return _say(fingerprint, state=State.OPEN, **_SAID)


def note(fingerprint: str, text: str) -> bool:
    """Keep a note with the group, in the place of the one before; secrets are taken out of it."""
    return _say(fingerprint, note=redact_text(text))


def _say(fingerprint: str, **values: Any) -> bool:
    return bool(FailureGroup.objects.using(get_settings().database).filter(pk=fingerprint).update(**values))
