"""What is not due stays in the table."""

import datetime as dt

from django.utils import timezone

from taskyard.models import Job
from tests.app import tasks
from tests.brokers import waiting
from tests.servers import wait_until
from tests.workers import Project, wait_for_state

TWO_HOURS = dt.timedelta(hours=2)


def test_a_job_due_in_two_hours_does_not_reach_the_broker_before_its_time(project_on: Project) -> None:
    project_on.start_worker("-Q", "elsewhere", "-c", "1")
    later = [
        tasks.note.using(run_after=TWO_HOURS).enqueue(text="later").id,
        tasks.add.apply_async((1, 2), countdown=TWO_HOURS.total_seconds()).id,
        tasks.add.apply_async((1, 2), eta=timezone.now() + TWO_HOURS).id,
    ]
    wait_for_state(tasks.note.enqueue(text="now: the feeder has looked at all of them").id, "queued")

    wait_until(lambda: waiting(project_on), 30, "its message is published")
    assert waiting(project_on) == 1
    rows = Job.objects.filter(id__in=later)
    assert {(job.state, job.published_at, job.due) for job in rows} == {("pending", None, False)}

    rows.update(available_at=timezone.now())
    for job_id in later:
        wait_for_state(job_id, "queued")
    wait_until(lambda: waiting(project_on) == 4, 30, "all four messages are in the broker")
