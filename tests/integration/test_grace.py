"""The last seconds of a worker, with real processes in the place of its pool's children."""

import datetime as dt
import subprocess
import sys
import uuid

import pytest
from celery.worker import state as worker_state
from django.test import override_settings

from taskyard.celery.worker.settler import settler
from taskyard.celery.worker.shutdown import Grace
from taskyard.execution.claim import claim, new_token
from taskyard.jobs.models import Attempt, Job
from taskyard.runtime.heartbeat import Heartbeat
from tests.integration.shelf import put
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2026, 5, 1, 12, 0, tzinfo=dt.UTC)


def test_a_child_nobody_knows_about_any_more_is_ended_and_its_job_goes_back_unspent() -> None:
    assert not worker_state.active_requests
    worker = uuid.uuid4()
    job = put(NOW, state="queued", max_attempts=1)
    assert claim(job.id, new_token(), worker, NOW)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    heartbeat = Heartbeat(worker, name="w@h", queues=["celery"], slots=1, children=lambda: [child.pid])
    with override_settings(TASKYARD={"SHUTDOWN_GRACE": dt.timedelta(seconds=0.2)}):
        grace = Grace(heartbeat, lambda: [child.pid], hang_up=list, leave=pytest.fail)
        grace.begin()
        wait_until(lambda: child.poll() is not None, 30, "the child is ended")
        grace.finish()
        wait_until(lambda: Job.objects.get(id=job.id).state != "running", 30, "the job is given back")
    settler().finish(10)

    after = Job.objects.get(id=job.id)
    assert (after.state, after.max_attempts - after.attempt) == ("retrying", 1)
    assert [lost.error_type for lost in Attempt.objects.all()] == ["Released"]


def test_a_running_job_is_given_its_grace_and_one_that_ends_within_it_is_left_alone() -> None:
    worker = uuid.uuid4()
    job = put(NOW, state="queued")
    assert claim(job.id, new_token(), worker, NOW)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    heartbeat = Heartbeat(worker, name="w@h", queues=["celery"], slots=1, children=lambda: [child.pid])
    with override_settings(TASKYARD={"SHUTDOWN_GRACE": dt.timedelta(seconds=30)}):
        grace = Grace(heartbeat, lambda: [child.pid], hang_up=list, leave=pytest.fail)
        grace.begin()
        Job.objects.filter(id=job.id).update(state="succeeded", finished_at=NOW)
        assert child.stdin is not None
        child.stdin.close()
        grace.finish()
    assert child.wait(30) is not None
    assert Job.objects.get(id=job.id).state == "succeeded"
    assert not Attempt.objects.exists()


def test_jobs_of_a_pool_without_children_are_not_given_back_while_they_may_still_run() -> None:
    worker = uuid.uuid4()
    job = put(NOW, state="queued")
    assert claim(job.id, new_token(), worker, NOW)
    heartbeat = Heartbeat(worker, name="w@h", queues=["celery"], slots=1, children=list)
    with override_settings(TASKYARD={"SHUTDOWN_GRACE": dt.timedelta(seconds=0.1)}):
        grace = Grace(heartbeat, list, hang_up=list, leave=pytest.fail)
        grace.begin()
        grace.finish()
    assert Job.objects.get(id=job.id).state == "running"
