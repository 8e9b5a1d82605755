"""A bundle in the process that runs its bodies."""

import uuid
from typing import Any

import pytest

from taskyard.celery.application import get_app
from taskyard.celery.attempt.executor import Delivery
from taskyard.celery.worker.bundle import execute_bundle
from taskyard.execution.claim import new_token
from taskyard.jobs.models import Attempt, Job
from tests.app import plain, tasks

pytestmark = pytest.mark.django_db(transaction=True)


def delivery(job_id: uuid.UUID, task: str) -> Delivery:
    return Delivery(str(job_id), task, new_token(), str(uuid.uuid4()), "host", {}, limits=(None, None))


def queued(*calls: Any) -> list[Delivery]:
    jobs = [Job.objects.get(id=call.id) for call in calls]
    Job.objects.update(state="queued")
    return [delivery(job.id, job.task) for job in jobs]


def test_a_bundle_runs_each_job_in_its_turn_whatever_becomes_of_the_others() -> None:
    get_app()
    link = tasks.add.s(1)
    calls = [
        tasks.answer.enqueue(value="a"),
        tasks.boom.delay(),
        tasks.answer.enqueue(value="b"),
        tasks.add.apply_async((1, 2), link=link),
        tasks.answer.enqueue(value="c"),
        tasks.answer.enqueue(value="taken"),
        tasks.answer.enqueue(value="d"),
    ]
    deliveries = queued(*calls)
    Job.objects.filter(id=calls[5].id).update(state="running", claim=1)
    ends = execute_bundle(deliveries)

    assert len(ends) == len(deliveries)
    states = [Job.objects.get(id=call.id).state for call in calls]
    assert states == ["succeeded", "failed", "succeeded", "succeeded", "succeeded", "running", "succeeded"]
    assert Job.objects.filter(parent=calls[3].id).count() == 1
    assert Attempt.objects.count() == 1
    assert [Job.objects.get(id=call.id).result for call in calls if hasattr(call, "task")] == ["a", "b", "c", None, "d"]


def test_a_database_that_goes_away_within_a_bundle_costs_no_job_its_end() -> None:
    get_app()
    deliveries = queued(*(plain.drops_connection.delay(n) for n in range(4)))
    execute_bundle(deliveries)
    assert list(Job.objects.order_by("id").values_list("state", "attempt")) == [("succeeded", 1)] * 4
