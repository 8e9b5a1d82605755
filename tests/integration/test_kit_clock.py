"""The test kit's clock: time stands still, and what becomes due on the way is fired by the real scheduler."""

import datetime as dt
import itertools
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import TestCase
from django.utils import timezone

from taskyard import RetryPolicy, Snooze, current_job, task
from taskyard.errors import TaskyardError
from taskyard.schedules import Cron, Every, Occurrence, Schedule
from taskyard.schedules.sources import code
from taskyard.testing import Clock, TaskyardTestMixin, clock, fire_due, run_jobs

HOUR, MINUTE, DAY = dt.timedelta(hours=1), dt.timedelta(minutes=1), dt.timedelta(days=1)
SPRING = dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)

ran: list[tuple[str, dt.datetime]] = []


@task(name="app.kit_tick")
def tick(word: str = "") -> None:
    ran.append((word, timezone.now()))


@task(name="app.kit_patient", retry=RetryPolicy(max_retries=2, backoff=10 * MINUTE, jitter=False))
def patient() -> None:
    tick("patient")
    if current_job().attempt < 3:
        raise ConnectionError


@task(name="app.kit_snoozes")
def snoozes() -> None:
    tick("snoozes")
    if timezone.now() < SPRING + 2 * HOUR:
        raise Snooze(HOUR)


def times() -> list[dt.datetime]:
    return [at for _, at in ran]


class Travelling(TaskyardTestMixin, TestCase):
    clock: Clock

    def setUp(self) -> None:
        ran.clear()
        self.clock = self.start_clock(SPRING)

    def test_each_due_time_fires_at_its_own_time_and_its_job_runs_then(self) -> None:
        Schedule.objects.define(name="hourly", task=tick, recurrence=Every(HOUR), kwargs={"word": "hourly"})
        Schedule.objects.define(name="nightly", task=tick, recurrence=Cron("30 2 * * *", timezone="Europe/Berlin"))
        made = self.clock.travel(DAY)
        self.assertEqual(timezone.now(), SPRING + DAY)
        self.assertEqual([job.available_at for job in made], times())
        self.assertEqual(times(), sorted(times()))
        hourly = [at for word, at in ran if word == "hourly"]
        self.assertEqual(len(hourly), 24)
        self.assertEqual({later - sooner for sooner, later in itertools.pairwise(hourly)}, {HOUR})
        # 02:30 does not exist in that night: it is three o'clock then.
        self.assertEqual([at for word, at in ran if not word], [dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC)])

    def test_after_a_jump_the_catch_up_decides_about_what_was_missed(self) -> None:
        Schedule.objects.define(name="one", task=tick, recurrence=Every(HOUR), catch_up="one")
        self.clock.jump(5 * HOUR)
        self.assertEqual(times(), [])
        self.clock.fire()
        self.assertEqual(times(), [SPRING + 5 * HOUR])
        self.assertEqual(Occurrence.objects.filter(decision="fired").count(), 1)

    def test_without_running_jobs_are_enqueued_at_their_times(self) -> None:
        Schedule.objects.define(name="hourly", task=tick, recurrence=Every(HOUR), overlap="allow")
        self.assertEqual(self.clock.travel(3 * HOUR, run=False), [])
        self.assertEqual([job.created_at for job in self.enqueued(tick)], [SPRING + n * HOUR for n in (1, 2, 3)])
        self.assertEqual(len(self.clock.fire()), 3)

    def test_retries_snoozes_and_delayed_jobs_come_after_their_wait(self) -> None:
        job = patient.enqueue()
        self.clock.travel(9 * MINUTE)
        self.assert_state(job, "retrying")
        self.clock.travel(2 * HOUR)
        self.assert_state(job, "succeeded")
        self.assertEqual(times(), [SPRING, SPRING + 10 * MINUTE, SPRING + 20 * MINUTE])
        ran.clear()
        self.clock.jump(SPRING)
        snoozes.enqueue()
        tick.using(run_after=90 * MINUTE).enqueue()
        self.clock.travel(SPRING + DAY)
        self.assertEqual(
            ran,
            [
                ("snoozes", SPRING),
                ("snoozes", SPRING + HOUR),
                ("", SPRING + 1.5 * HOUR),
                ("snoozes", SPRING + 2 * HOUR),
            ],
        )

    def test_an_error_is_raised_with_the_clock_where_it_happened(self) -> None:
        @task(name="app.kit_fails_later")
        def fails() -> None:
            raise ZeroDivisionError("in an hour")

        fails.using(run_after=HOUR).enqueue()
        with self.assertRaisesMessage(ZeroDivisionError, "in an hour"):
            self.clock.travel(DAY)
        self.assertEqual(timezone.now(), SPRING + HOUR)

    def test_times_that_mean_nothing_are_refused(self) -> None:
        for bad, why in ((-HOUR, "backwards"), (dt.datetime(2026, 5, 1), "no time zone")):
            with self.assertRaisesMessage(TaskyardError, why):
                self.clock.travel(bad)

    def test_the_bounds_of_the_schedulers_transactions_do_not_stay_on_the_tests(self) -> None:
        def bounds() -> Any:
            asked = {
                "postgresql": "SELECT current_setting('idle_in_transaction_session_timeout'),"
                " current_setting('statement_timeout'), current_setting('lock_timeout')",
                "mysql": "SELECT @@SESSION.idle_transaction_timeout",
            }
            with connection.cursor() as cursor:
                cursor.execute(asked.get(connection.vendor, "SELECT 1"))
                return cursor.fetchone()

        before = bounds()
        Schedule.objects.define(name="hourly", task=tick, recurrence=Every(HOUR))
        self.clock.travel(HOUR)
        self.assertEqual((len(ran), bounds()), (1, before))


@pytest.mark.django_db
def test_schedules_of_the_code_become_rows_and_are_due_from_now_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_declared", {})
    monkeypatch.setattr(code, "autodiscover_modules", lambda *names: None)
    code.register("from-code", Every(HOUR), task=tick)
    ran.clear()
    with clock(SPRING) as at:
        assert [change.name for change in at.sync()] == ["from-code"]
        at.travel(HOUR)
    assert times() == [SPRING + HOUR]
    assert timezone.now() > SPRING + HOUR


@pytest.mark.django_db
def test_whoever_else_moves_the_time_has_what_is_due_fired_as_well() -> None:
    ran.clear()
    with time_machine.travel(SPRING, tick=False):
        Schedule.objects.define(name="hourly", task=tick, recurrence=Every(HOUR))
    with time_machine.travel(SPRING + HOUR, tick=False):
        assert len(fire_due(run=False)) == 0
        assert len(run_jobs()) == 1
    assert times() == [SPRING + HOUR]
