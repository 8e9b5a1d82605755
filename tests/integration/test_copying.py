"""COPY in the place of INSERT: the same rows, the same answers."""

import datetime as dt
import uuid

import pytest
from django.db import connection, transaction

from taskyard import enqueue_many
from taskyard.jobs.current import entered
from taskyard.jobs.models import Job
from taskyard.jobs.rows import copying
from taskyard.jobs.running import RunningJob
from tests.app import tasks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="COPY is PostgreSQL's"),
]

ODD = 'a\\b "c" \t\n\r \\N \\. ä 😀 \x00 '


def test_a_copied_row_is_the_row_that_an_enqueue_writes() -> None:
    call = {"key": ODD, "path": ODD}
    task = tasks.once.using(priority=7, created_by="o\\p\te", tags=("a\\", "b"), run_after=dt.timedelta(hours=1))
    call["key"] = "plain\\\t\n"
    one = task.enqueue(**call)
    Job.objects.filter(id=one.id).update(unique_lock=None)
    assert enqueue_many(task, [call]).created == 1
    copied = Job.objects.exclude(id=one.id).get()
    own = {"id", "root", "created_at", "available_at", "unique_lock"}
    for field in Job._meta.concrete_fields:
        if field.name not in own:
            assert getattr(copied, field.name) == getattr(Job.objects.get(id=one.id), field.name), field.name
    assert copied.root == copied.id
    assert copied.available_at - copied.created_at == dt.timedelta(hours=1)
    assert copied.unique_lock is not None


def test_inside_of_a_job_copied_rows_belong_to_its_family() -> None:
    root = uuid.uuid4()
    with entered(RunningJob(uuid.uuid4(), "app.nothing", token=1, attempt=1, root=root, tenant="t")) as running:
        enqueue_many(tasks.nothing, [{"n": 1}, {"n": 2}])
    assert {(job.parent, job.root, job.tenant) for job in Job.objects.all()} == {(running.id, root, "t")}


def test_a_held_key_undoes_its_batch_alone_and_later_ones_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 4)
    looked_at: list[int] = []
    look = copying.Copier._without_held

    def counted(self: copying.Copier, rows: list[copying.Copied]) -> object:
        looked_at.append(len(rows))
        return look(self, rows)

    monkeypatch.setattr(copying.Copier, "_without_held", counted)
    tasks.once.enqueue(key="k5")
    report = enqueue_many(tasks.once, ({"key": f"k{n % 11}"} for n in range(12)))
    assert (report.created, report.duplicates) == (10, 2)
    assert Job.objects.count() == 11
    assert looked_at == [4, 4]


def test_a_key_taken_between_the_look_and_the_write_makes_a_duplicate_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = copying.Copier._without_held

    def look_and_lose(self: copying.Copier, rows: list[copying.Copied]) -> object:
        free = look(self, rows)
        tasks.once.enqueue(key="k3")
        return free

    monkeypatch.setattr(copying.Copier, "_without_held", look_and_lose)
    tasks.once.enqueue(key="k7")
    with transaction.atomic():
        report = enqueue_many(tasks.once, ({"key": f"k{n}"} for n in range(10)))
    assert (report.created, report.duplicates) == (8, 2)
    assert Job.objects.count() == 10


def test_calls_may_be_read_from_the_connection_they_are_written_on_chunk_by_chunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 3)
    enqueue_many(tasks.nothing, ({"n": n} for n in range(10)))
    seen = Job.objects.order_by("id").iterator(chunk_size=2)
    with transaction.atomic():
        report = enqueue_many(tasks.answer, ({"value": [job.kwargs["n"], Job.objects.count()]} for job in seen))
    assert (report.created, report.rejected) == (10, ())


def test_a_chunk_of_nothing_but_rejected_calls_does_not_end_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 2)
    calls = [{"n": 1}, {"n": 2}, {"m": 3}, {"n": object()}, {"n": 5}]
    report = enqueue_many(tasks.nothing, calls)
    assert report.created == 3
    assert [one.index for one in report.rejected] == [2, 3]
