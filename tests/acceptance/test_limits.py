"""Time limits and lost children: recorded within seconds, the child replaced, the job retried or failed by policy."""

import datetime as dt

from taskyard.models import Attempt, Job, Worker
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state

#: The promise: from the strike of a limit, or the death of a child, to its record.
RECORDED_WITHIN = dt.timedelta(seconds=5)
LIMIT = dt.timedelta(seconds=1)


def _attempts(job: Job) -> list[Attempt]:
    return list(Attempt.objects.filter(job=job))


def test_time_limits_are_recorded_within_seconds_and_their_children_replaced(project_on: Project) -> None:
    project_on.start_worker("-c", "3")
    failing = tasks.over_time.enqueue(path=project_on.go)
    retried = tasks.over_time_retried.enqueue(path=project_on.go)
    soft = tasks.over_soft_time.enqueue(path=project_on.go)

    failed = wait_for_state(failing.id, "failed")
    assert failed.error["reason"] == "time-limit"
    assert failed.finished_at - failed.started_at < LIMIT + RECORDED_WITHIN
    [ended] = _attempts(failing)
    assert (ended.error_type, ended.error_message) == ("TimeLimitExceeded", "it was ended after 1 s, its time limit")

    assert wait_for_state(retried.id, "succeeded").result == "second"
    [over] = _attempts(retried)
    assert over.ended_at - over.started_at < LIMIT + RECORDED_WITHIN

    stopped = wait_for_state(soft.id, "failed")
    assert stopped.error["reason"] == "soft-time-limit"
    assert stopped.finished_at - stopped.started_at < LIMIT + RECORDED_WITHIN

    # All three slots work again: three jobs that wait for each other's start run at once.
    jobs = [tasks.hold.enqueue(path=project_on.go) for _ in range(3)]
    wait_until(lambda: all(project_on.started(job.id) for job in jobs), 30, "three jobs run at once")
    project_on.release()
    for job in jobs:
        wait_for_state(job.id, "succeeded")
    assert project_on.overlaps() == []


def test_a_lost_child_is_recorded_within_seconds_and_replaced_and_the_third_in_a_row_is_poison(
    project_on: Project,
) -> None:
    worker = project_on.start_worker("-c", "2")
    once = tasks.die_first.enqueue()
    always = tasks.die_first.enqueue(attempts=99)

    assert wait_for_state(once.id, "succeeded").result == 2
    [lost] = _attempts(once)
    assert lost.error_type == "WorkerLost"
    assert lost.ended_at - lost.started_at < RECORDED_WITHIN

    quarantined = wait_for_state(always.id, "failed", timeout=60)
    assert quarantined.error["reason"] == "poison"
    assert [attempt.number for attempt in _attempts(always)] == [1, 2, 3]
    assert all(attempt.ended_at - attempt.started_at < RECORDED_WITHIN for attempt in _attempts(always))

    after = [tasks.hold.enqueue(path=project_on.go) for _ in range(2)]
    wait_until(lambda: all(project_on.started(job.id) for job in after), 30, "two jobs run at once")
    project_on.release()
    for job in after:
        wait_for_state(job.id, "succeeded")
    # It was the children that died: the worker is the one that was there from the beginning.
    assert list(Worker.objects.values_list("pid", flat=True)) == [worker.pid]
    assert project_on.overlaps() == []
