"""Do sagas go on, or does one of them want a person?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.words import duration
from taskyard.sagas.models import Saga
from taskyard.sagas.reading import queries
from taskyard.sagas.reading.queries import MOST_COUNTED, Attention


def sagas() -> Iterator[Finding]:
    """Those that nobody looks at though their time has come, and those that need attention."""
    now = dt.datetime.now(dt.UTC)
    late, stuck = queries.not_looked_at(now), queries.needing_attention()
    if late.oldest_at is not None:
        yield fail(
            "sagas", f"nobody looked at {_so_many(late)} whose time has come, the longest for "
            f"{duration(now - late.oldest_at)}",
            fix="No keeper acts, or it does not get through. Start a worker, or `taskyard scheduler` where AGENTS is "
            "off; its log says what is in the way.",
            facts={"late": late.count, "oldest": late.oldest_at},
        )  # fmt: skip
    if stuck.oldest_at is not None:
        need = "needs" if stuck.count == 1 else "need"
        yield warn(
            "sagas", f"{_so_many(stuck)} {need} attention, the longest for {duration(now - stuck.oldest_at)}",
            fix="See them: taskyard sagas list --state needs_attention; each says why: taskyard sagas show ID",
            facts={"needs_attention": stuck.count, "oldest": stuck.oldest_at},
        )  # fmt: skip
    if not late.count + stuck.count and Saga.objects.active().exists():
        yield ok("sagas", "all that are on their way go on")


def _so_many(found: Attention) -> str:
    more = " or more" if found.count >= MOST_COUNTED else ""
    return f"{found.count:,}{more} {'saga' if found.count == 1 else 'sagas'}"
