"""Several short jobs in one message: each runs, ends and goes elsewhere as if it had one of its own."""

import itertools
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from taskyard.models import Attempt, Job
from tests.app import plain, tasks
from tests.brokers import publish_again, waiting
from tests.workers import Project, wait_for_state, wait_until_idle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["redis_url", "amqp_url"])
def carried(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project whose lost messages nobody misses while the test runs."""
    project.broker_url = request.getfixturevalue(request.param)
    project.taskyard = {"REPUBLISH_AFTER": {"seconds": 600}}
    return project


def together(project: Project, *calls: dict[str, Any]) -> list[str]:
    """Jobs that are queued, in one message."""
    ids = [plain.quick.apply_async((n,), call, queue="elsewhere").id for n, call in enumerate(calls)]
    Job.objects.filter(id__in=ids).update(state="queued", queue="celery", published_at=timezone.now(), publishes=1)
    publish_again(project, *map(UUID, ids))
    return ids


def attempts_begun(project: Project) -> dict[str, int]:
    begun = sorted(words[3] for words in project.history() if words[2] == "start")
    return {one: len(list(times)) for one, times in itertools.groupby(begun)}


def start_worker(project: Project) -> Any:
    """A worker with one slot, whose feeder has taken the queue over."""
    worker = project.start_worker("-c", "1")
    wait_for_state(tasks.nothing.enqueue().id, "succeeded")
    return worker


def test_each_runs_once_and_the_message_is_acknowledged(carried: Project) -> None:
    worker = start_worker(carried)
    ids = together(carried, *[{}] * 8)
    for one in ids:
        assert wait_for_state(one, "succeeded").attempt == 1
    assert {one: attempts_begun(carried)[one] for one in ids} == dict.fromkeys(ids, 1)
    # Nothing came back to the queue with the worker's end.
    worker.stop()
    assert waiting(carried) == 0


def test_a_message_that_comes_twice_runs_nothing_twice(carried: Project) -> None:
    start_worker(carried)
    ids = together(carried, *[{}] * 4)
    publish_again(carried, *map(UUID, ids))
    last = together(carried, {})
    for one in (*ids, *last):
        wait_for_state(one, "succeeded")
    assert {attempts_begun(carried)[one] for one in ids} == {1}


def test_a_job_that_kills_its_child_takes_none_of_the_others_along(carried: Project) -> None:
    start_worker(carried)
    ids = together(carried, {}, {"how": "die", "path": str(carried.folder / "died")}, {}, {})
    for one in ids:
        wait_for_state(one, "succeeded", 60)
    assert [attempts_begun(carried)[one] for one in ids] == [1, 2, 1, 1]
    assert [str(lost.job_id) for lost in Attempt.objects.all()] == [ids[1]]


def test_what_stands_behind_a_long_job_of_its_message_goes_to_another_worker(carried: Project) -> None:
    start_worker(carried)
    blocker, *behind = together(carried, {"how": "wait", "path": carried.go}, {}, {}, {})
    wait_for_state(blocker, "running", 30)
    carried.start_worker("-c", "1")
    for one in behind:
        wait_for_state(one, "succeeded", 30)
    assert Job.objects.get(id=blocker).state == "running"
    carried.release()
    wait_until_idle()
    assert {attempts_begun(carried)[one] for one in (blocker, *behind)} == {1}
