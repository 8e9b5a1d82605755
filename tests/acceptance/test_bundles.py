"""Short jobs are handed to a child several at a time, and none of them can tell."""

import os
import signal

import pytest

from taskyard.jobs.models import Attempt, Job
from tests.app import plain
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

#: Enough that some are bundled: the first ones tell how long they take.
MANY = 200


def enqueue(count: int, **options: object) -> list[str]:
    return [plain.quick.delay(n, **options).id for n in range(count)]


def starts(project: Project) -> dict[str, int]:
    counts: dict[str, int] = {}
    for words in project.history():
        if words[2] == "start":
            counts[words[3]] = counts.get(words[3], 0) + 1
    return counts


def test_many_short_jobs_run_once_each_with_a_record_of_their_own(project_on: Project) -> None:
    ids = enqueue(MANY)
    project_on.start_worker()
    wait_until_idle(60)

    assert starts(project_on) == dict.fromkeys(ids, 1)
    jobs = {str(job.id): job for job in Job.objects.all()}
    assert [jobs[one].result for one in ids] == list(range(MANY))
    assert {(job.state, job.attempt) for job in jobs.values()} == {("succeeded", 1)}
    # Each was claimed when its turn came, not when its bundle was sent.
    assert all(job.started_at <= job.finished_at for job in jobs.values())
    assert len({job.started_at for job in jobs.values()}) > MANY * 0.9


def test_a_child_killed_in_a_bundle_takes_one_job_with_it(project_on: Project) -> None:
    enqueue(MANY)
    project_on.start_worker()
    wait_until(lambda: len(starts(project_on)) > MANY // 2, 60, "the bodies are known to be short")
    culprit = plain.quick.delay(-1, how="die", path=str(project_on.folder / "died")).id
    later = enqueue(MANY // 2)
    wait_until_idle(60)

    assert {job.state for job in Job.objects.all()} == {"succeeded"}
    assert [str(lost.job_id) for lost in Attempt.objects.all()] == [culprit]
    counts = starts(project_on)
    assert counts.pop(culprit) == 2
    assert set(counts.values()) == {1}
    assert set(later) <= set(counts)
    assert project_on.overlaps() == []


def test_what_stands_behind_a_job_that_turns_out_long_goes_to_another_worker(project_on: Project) -> None:
    # Nothing is published again meanwhile: what runs elsewhere was given back.
    project_on.taskyard |= {"REPUBLISH_AFTER": {"seconds": 60}}
    enqueue(MANY)
    first = project_on.start_worker("-c", "1")
    wait_until(lambda: len(starts(project_on)) > MANY // 2, 60, "the bodies are known to be short")
    blocker = plain.quick.delay(-1, how="wait", path=project_on.go).id
    behind = enqueue(MANY // 2)
    wait_for_state(blocker, "running", 60)
    project_on.start_worker("-c", "1")

    for one in behind:
        wait_for_state(one, "succeeded", 30)
    project_on.release()
    wait_for_state(blocker, "succeeded", 30)
    assert set(starts(project_on).values()) == {1}
    assert first.process.poll() is None


def test_a_worker_stopped_in_the_middle_finishes_or_gives_back_and_spends_no_attempt(project_on: Project) -> None:
    project_on.taskyard |= {"SHUTDOWN_GRACE": {"seconds": 1}}
    enqueue(MANY)
    worker = project_on.start_worker()
    wait_until(lambda: len(starts(project_on)) > MANY // 4, 60, "some ran")
    os.kill(worker.pid, signal.SIGTERM)
    worker.process.wait(30)
    project_on.start_worker()
    wait_until_idle(60)

    assert {(job.state, job.max_attempts - job.attempt) for job in Job.objects.all()} <= {
        ("succeeded", 0),
        ("succeeded", 3),
    }
    assert not Attempt.objects.exclude(error_type="Released").exists()
    assert project_on.overlaps() == []
