"""A job exists, and is published, exactly if the transaction that enqueued it committed."""

from django.db import transaction

from taskyard.models import Job
from tests.app import tasks
from tests.brokers import waiting
from tests.servers import wait_until
from tests.workers import Project, wait_for_state


class RolledBack(Exception):
    pass


def _rolls_back(text: str) -> None:
    try:
        with transaction.atomic():
            tasks.note.enqueue(text=text)
            tasks.add.delay(1, 2)
            raise RolledBack
    except RolledBack:
        pass


def test_rows_and_messages_follow_the_transaction_and_its_savepoints(project_on: Project) -> None:
    # It feeds every queue and consumes none of these jobs, so that each message stays to be counted.
    project_on.start_worker("-Q", "elsewhere", "-c", "1")

    _rolls_back("outer")
    with transaction.atomic():
        kept = [tasks.note.enqueue(text="before").id]
        _rolls_back("savepoint")
        with transaction.atomic():
            kept.append(tasks.note.enqueue(text="kept savepoint").id)
            _rolls_back("inner savepoint")
        kept.append(tasks.add.delay(1, 2).id)
    kept.append(tasks.note.enqueue(text="last, so that the feeder has passed the others").id)

    for job_id in kept:
        wait_for_state(job_id, "queued")
    assert {str(job.id) for job in Job.objects.all()} == set(map(str, kept))
    wait_until(lambda: waiting(project_on) >= len(kept), 30, "the messages are published")
    assert waiting(project_on) == len(kept)
