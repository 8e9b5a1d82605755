"""What a job hands down to the jobs it enqueues."""

import pytest
from celery import chain
from django.test import override_settings

from taskyard import current_job, task
from taskyard.models import Job
from tests.app import tasks

pytestmark = [pytest.mark.django_db(transaction=True)]


@task
def parent_of_three() -> str:
    tasks.nothing.enqueue(n=1)
    tasks.add.delay(1, 2)
    chain(tasks.add.s(1, 2), tasks.add.s(3)).delay()
    return str(current_job().id)


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_children_have_their_parents_tenant_parent_and_root() -> None:
    parent = parent_of_three.using(tenant="acme").enqueue()

    children = Job.objects.filter(root=parent.id).exclude(id=parent.id)
    assert children.count() == 4
    assert set(children.values_list("tenant", flat=True)) == {"acme"}
    assert children.filter(parent=parent.id).count() == 3


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_a_task_without_a_policy_that_asks_for_a_retry_gets_one() -> None:
    job = tasks.steer.enqueue(how="retry")

    done = Job.objects.get(id=job.id)
    assert (done.state, done.attempt) == ("succeeded", 2)


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_a_stored_traceback_begins_at_the_task() -> None:
    job = tasks.flaky.enqueue(succeed_at=2)

    text = Job.objects.get(id=job.id).attempts.get().traceback
    assert text.splitlines()[1].strip().startswith("File") and "tests/app/tasks.py" in text.splitlines()[1]
