"""Does what runs by the clock run?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import Count, Min, Q

from taskyard.monitoring.diagnosis.finding import Finding, fail, ok, warn
from taskyard.monitoring.words import duration
from taskyard.schedules.models import Backfill, Schedule
from taskyard.schedules.sources.crontab.files import current
from taskyard.settings import get_settings

#: So long after a due time somebody should have decided about it, also after a fail-over.
_LATE = dt.timedelta(seconds=15)
#: So many parked ones, and so many broken lines of crontab files, are named.
_NAMED = 5


def schedules() -> Iterator[Finding]:
    """Due times that nobody decides about, and definitions that the scheduler could make nothing of."""
    now = dt.datetime.now(dt.UTC)
    about = Schedule.objects.all().aggregate(
        all=Count("pk"), late=Count("pk", filter=Q(next_at__lt=now - _LATE, keeper="")),
        oldest=Min("next_at", filter=Q(keeper="")), kept=Count("pk", filter=Q(next_at__lt=now - _LATE) & ~Q(keeper="")),
        parked=Count("pk", filter=~Q(error="")),
    )  # fmt: skip
    if about["late"]:
        yield fail(
            "schedules", f"{about['late']:,} are overdue, the longest for {duration(now - about['oldest'])}",
            fix="No scheduler runs, or it is too slow. Start a worker, or `taskyard scheduler` where AGENTS is off; its"
            " log says what is in the way.",
            facts={"late": about["late"], "oldest": about["oldest"]},
        )  # fmt: skip
    if about["kept"]:
        yield fail(
            "schedules of Beat", f"{about['kept']:,} are overdue",
            fix="They run while Beat does, with the scheduler that made them: start `celery beat -S ...`, or move them"
            " by `taskyard schedules import`.",
            facts={"late": about["kept"]},
        )  # fmt: skip
    for row in Schedule.objects.exclude(error="").order_by("-updated_at")[:_NAMED] if about["parked"] else ():
        yield warn(
            f"schedule {row}", f"is parked: {row.error}",
            fix=f"Mend its definition, or what it names, then: taskyard schedules resume {row.name}"
            + (f" --tenant {row.tenant}" if row.tenant else ""),
        )  # fmt: skip
    if about["parked"] > _NAMED:
        yield warn(
            "more schedules", f"{about['parked'] - _NAMED:,} more are parked", fix="See: taskyard schedules list",
            facts={"parked": about["parked"]},
        )  # fmt: skip
    if about["all"] and not about["late"] + about["kept"] + about["parked"]:
        yield ok("schedules", f"{about['all']:,}, none overdue")
    for fill in Backfill.objects.running().exclude(error="").select_related("schedule").order_by("pk")[:_NAMED]:
        yield warn(
            f"back-fill {fill.pk}", f"of schedule {fill.schedule} does not get on: {fill.error}",
            fix="It goes on by itself when that is mended; or end it: taskyard schedules backfill "
            f"{fill.schedule.name} --cancel",
        )  # fmt: skip


def crontabs() -> Iterator[Finding]:
    """Lines of crontab files that do not run because nobody can read them."""
    if not get_settings().crontabs:
        return
    _, reading = current()
    for problem in reading.problems[:_NAMED]:
        yield fail(f"crontab {problem.file}:{problem.line}:{problem.column}", problem.problem, fix="Mend that line.")
    if len(reading.problems) > _NAMED:
        yield fail(
            "more crontab lines", f"{len(reading.problems) - _NAMED:,} more cannot be read",
            fix="See: taskyard crontab check", facts={"problems": len(reading.problems)},
        )  # fmt: skip
    if not reading.problems:
        yield ok("crontab", f"{len(reading.entries):,} lines in {len(reading.files):,} files")
