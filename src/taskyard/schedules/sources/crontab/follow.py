"""Keeps the rows as the crontab files say, from one look of the scheduler to the next."""

from __future__ import annotations

import datetime as dt
import logging

from taskyard.errors import TaskyardError
from taskyard.schedules.sources import reconcile
from taskyard.schedules.sources.crontab.files import Stamp, current
from taskyard.schedules.sources.reconcile import Change

logger = logging.getLogger(__name__)

#: The origin of rows that follow crontab files, and the actor of the versions they wrote.
CRONTAB = "crontab"


class Follower:
    """What one scheduler has seen of the files.

    Rows are written when this one starts and whenever it sees a change. So where hosts have different files, the rows
    are as the one says that started, or saw a change, last.
    """

    def __init__(self) -> None:
        self._seen: Stamp | None = None
        self._complaint = ""

    def follow(self, now: dt.datetime) -> list[Change]:
        """Look, and if anything has changed make the rows the same; what was done.

        Where nobody can tell what the files are, the rows stay as they are, and the log says why.
        """
        try:
            seen, reading = current()
        except TaskyardError as error:
            self._complain(str(error))
            return []
        if seen == self._seen:
            return []
        self._complain("\n".join(map(str, reading.problems)))
        changes = reconcile.sync(reconcile.Source(CRONTAB, reading.wanted), now)
        self._seen = seen
        for change in changes:
            logger.info("Crontab line %s: %s.", change.name, change.kind)
        return changes

    def _complain(self, text: str) -> None:
        """Say it once, until it changes."""
        if text and text != self._complaint:
            logger.error("Lines of crontab files that do not run:\n%s", text)
        self._complaint = text
