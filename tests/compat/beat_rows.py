"""A program beside an installed django-celery-beat: its rows as a target. Ends with an error if one is wrong."""

import datetime as dt
import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only for tests",
    USE_TZ=True,
    ROOT_URLCONF="shop.urls",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat", "taskyard"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CELERY_TASK_ALWAYS_EAGER=True,
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks  # noqa: E402

from taskyard import task  # noqa: E402
from taskyard.schedules import At, Cron, Every, register  # noqa: E402
from taskyard.schedules.calls import call_schedule  # noqa: E402
from taskyard.schedules.models import Occurrence, Schedule  # noqa: E402
from taskyard.schedules.sources import code  # noqa: E402
from taskyard.schedules.target import target_named  # noqa: E402

ran: list[int] = []


@task(name="taskyard.body")
def body() -> None:
    ran.append(1)


def declare(**recurrences: object) -> None:
    code._declared.clear()
    for name, recurrence in recurrences.items():
        register(name, recurrence, task=body, description="words")


def kinds(**said: bool) -> list[tuple[str, str]]:
    return [(change.kind, change.name) for change in target_named("beat").sync(**said)]


def main() -> None:
    call_command("migrate", verbosity=0)
    every = IntervalSchedule.objects.create(every=5, period="minutes")
    theirs = PeriodicTask.objects.create(name="theirs", task="x", interval=every, description="by hand")
    PeriodicTask.objects.create(name="taken", task="x", interval=every)

    # The second run plans nothing, and the rows say what the code says.
    declare(
        hourly=Every(dt.timedelta(hours=1)),
        weekly=Cron("30 9 * * MON", timezone="Europe/Berlin"),
        taken=Cron("0 1 * * *"),
    )
    assert kinds() == [("add", "hourly"), ("conflict", "taken"), ("add", "weekly")]
    assert kinds() == [("conflict", "taken")]
    row = PeriodicTask.objects.get(name="weekly")
    assert (row.task, row.kwargs, str(row.crontab.timezone)) == (
        "taskyard.call_schedule",
        '{"name": "weekly"}',
        "Europe/Berlin",
    )
    assert (row.crontab.minute, row.crontab.hour, row.crontab.day_of_week) == ("30", "9", "1")
    assert row.description.startswith("words\n\n[taskyard shop ")

    # Beat is told; an edit is drift; whether a row is enabled is theirs to say.
    row.description += "\nMind the gap."
    row.save()
    [_, change] = target_named("beat").compare()
    assert (change.kind, list(change.fields)) == ("revert", ["description"]), change
    changed = PeriodicTasks.last_change()
    row.crontab, row.enabled = CrontabSchedule.objects.create(minute="0", hour="7", timezone="UTC"), False
    row.save()
    [_, change] = target_named("beat").compare()
    assert (change.kind, change.fields["schedule"]) == ("revert", ("0 7 * * *", "30 9 * * 1")), change
    assert kinds(adopt=True)[1:] == [("adopt", "weekly")]
    assert kinds()[1:] == [("revert", "weekly")]
    assert PeriodicTasks.last_change() > changed
    row.refresh_from_db()
    assert (row.crontab.hour, row.enabled) == ("9", False)

    # What it runs decides once.
    call_schedule.enqueue(name="hourly")
    call_schedule.enqueue(name="hourly")
    assert (len(ran), Occurrence.objects.all().count(), Schedule.objects.get().origin) == (1, 1, "trigger")

    # What is dropped goes, what is refused says why, and what is not ours stays.
    declare(once=At(dt.datetime(2030, 1, 1, tzinfo=dt.UTC)), night=Cron("30 2 * * *", timezone="Europe/Berlin"))
    assert kinds() == [("refuse", "night"), ("refuse", "once"), ("remove", "hourly"), ("remove", "weekly")]
    assert list(PeriodicTask.objects.order_by("name").values_list("name", flat=True)) == ["taken", "theirs"]
    before = theirs.date_changed
    theirs.refresh_from_db()
    assert (theirs.description, theirs.date_changed) == ("by hand", before)


if __name__ == "__main__":
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)
    main()
