"""V9: restarts, downtime, two schedulers, and jobs that are done twice."""

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.utils import timezone
from validations.models import Submission

from taskyard.models import Job
from taskyard.schedules import Occurrence, Schedule
from taskyard.schedules.scheduler import Scheduler

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def nothing_ran_since(past: dt.datetime, *names: str) -> None:
    """As the rows are after that: what was due by then is decided, and nothing later."""
    for row in Schedule.objects.filter(name__in=names):
        first = row.preview(1, after=past)[0]
        Schedule.objects.filter(pk=row.pk).update(decided_until=past, next_at=first.at)


def decide_all(scheduler: Scheduler, now: dt.datetime) -> int:
    decided = 0
    while more := scheduler.run_once(now):
        decided += more
    return decided


def test_after_a_day_of_downtime_each_runs_once_and_what_did_not_run_says_so(make: Any) -> None:
    make.submission()
    daily = Schedule.objects.exclude(name="clean-receipts").values_list("name", flat=True)
    now = timezone.now()
    nothing_ran_since(now - DAY, *daily)
    decide_all(Scheduler(), now)
    fired = Counter(Occurrence.objects.filter(decision="fired").values_list("schedule__name", flat=True))
    assert fired == dict.fromkeys(daily, 1)
    missed = Occurrence.objects.filter(schedule__name="purge-expired-submissions", decision="coalesced")
    assert missed.count() == 23
    assert {each.reason for each in missed} == {"a later one runs in its place"}
    assert Job.objects.filter(state="succeeded").count() == Job.objects.count() == 9
    assert not Submission.objects.filter(purged_at=None).exists()


def test_a_deploy_after_downtime_forgets_nothing_that_was_due() -> None:
    nothing_ran_since(timezone.now() - 7 * DAY, "clean-receipts")
    call_command("set_up", verbosity=0)
    decide_all(Scheduler(), timezone.now())
    assert Occurrence.objects.filter(schedule__name="clean-receipts", decision="fired").count() == 1


def test_any_number_of_schedulers_may_run_and_a_restarted_one_repeats_nothing() -> None:
    now, names = timezone.now(), ("purge-expired-outputs", "retry-failed-purges")
    nothing_ran_since(now - 2 * HOUR, *names)
    assert decide_all(Scheduler(), now) > 0
    assert [decide_all(Scheduler(), now) for _ in range(3)] == [0, 0, 0]
    # As after a restore of an older backup of this table.
    Schedule.objects.filter(name__in=names).update(decided_until=now - 2 * HOUR, next_at=now)
    jobs = Job.objects.count()
    decide_all(Scheduler(), now)
    assert Job.objects.count() == jobs


def test_a_purge_that_was_killed_before_it_was_written_down_is_done_again(make: Any, run: Any) -> None:
    kept = make.submission()
    Path(kept.file.path).unlink()
    assert run("purge-expired-submissions").progress_message == "1 found, 1 done, 0 failed"


def test_one_that_has_not_ended_is_not_started_beside_itself(settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = False
    row = Schedule.objects.get(name="retry-failed-purges")
    assert [row.run_now().decision for _ in range(2)] == ["fired", "skipped"]
    assert Job.objects.count() == 1
