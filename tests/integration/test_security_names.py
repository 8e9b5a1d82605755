"""Names chosen by somebody else: quotes, placeholders, NUL, control characters, very long ones."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from taskyard.celery import get_app
from taskyard.celery.broker.job_rows import JobRows
from taskyard.enqueue import enqueue_many
from taskyard.errors import InvalidName, NotJson, PayloadTooLarge
from taskyard.execution.claim import Said, claim
from taskyard.jobs.models import Job
from taskyard.outbox.feeder import Feeder
from taskyard.outbox.models import QueueSetting
from taskyard.runtime.wakeup import wake
from tests.app import tasks

from .shelf import Shelf, register

ODD = [
    "a'; DROP TABLE taskyard_job; --", 'a"b', "a`b", "100% %s %(x)s %%", "{0} {x}", "a\\'b\\", "$1 ? :x", "ключ ☃ 💥",
    "taskyard_work_queued', ''); --", "a/*b*/--", "a b", "../../x", "a;b,c",
]  # fmt: skip
#: What no name may hold.
BAD = ["a\x00b", "a\r\nb", "\x1b[31m", "a\ud800b", "a\u202eb", "x" * 300]
CALLS: dict[str, Callable[[str], Any]] = {
    "queue": lambda word: tasks.nothing.using(queue_name=word).enqueue(),
    "tenant": lambda word: tasks.nothing.using(tenant=word).enqueue(),
    "queue of Celery": lambda word: tasks.add.apply_async((1, 2), queue=word),
    "task id": lambda word: tasks.add.apply_async((1, 2), task_id=word),
    "task name": lambda word: get_app().send_task(word, (1,)),
    "tenant of Celery": lambda word: tasks.add.apply_async((1, 2), headers={"taskyard_tenant": word}),
}
TEXTS: dict[str, Callable[[str], Any]] = {
    "unique key": lambda word: tasks.once.enqueue(key=word),
    "creator": lambda word: tasks.nothing.using(created_by=word).enqueue(),
}
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("word", ODD)
def test_odd_names_go_through_every_statement_as_they_are(word: str) -> None:
    for call in (*CALLS.values(), *TEXTS.values()):
        call(word)
    tasks.nothing.using(queue_name=word, tenant=word, created_by=word, tags=[word, "x"]).enqueue()
    job = Job.objects.get(queue=word, tenant=word)
    assert (job.created_by, job.tags) == (word, [word, "x"])
    assert Job.objects.filter(task=word).count() == 1
    assert Job.objects.filter(unique_key=word).count() == 1

    shelf = Shelf()
    register(timezone.now(), word)
    Feeder(uuid.uuid4(), shelf).run_once(timezone.now())
    assert any(out.queue == word for out in shelf.published)
    Job.objects.filter(queue=word).update(state="queued", published_at=timezone.now())
    assert QueueSetting.objects.pause([word], timezone.now(), by=word, reason=word) == 1
    assert word in QueueSetting.objects.paused().values_list("name", flat=True)
    wake(word)
    assert len(JobRows("default").take(word, 10)) == Job.objects.filter(queue=word).count() >= 3
    assert claim(uuid.uuid4(), 1, uuid.uuid4(), timezone.now(), said=Said(word, 1.0, None, (word, "x"))) is None


@pytest.mark.parametrize("word", BAD, ids=ascii)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_names_that_one_database_takes_and_another_refuses_are_refused_by_all(
    call: Callable[[str], Any], word: str
) -> None:
    with transaction.atomic():
        with pytest.raises((InvalidName, UnicodeEncodeError)):
            call(word)
        # The caller's transaction goes on.
        tasks.nothing.enqueue()
    assert Job.objects.count() == 1


@pytest.mark.parametrize("word", ["a\x00b", "a\ud800b"], ids=ascii)
@pytest.mark.parametrize("call", TEXTS.values(), ids=TEXTS)
def test_text_that_no_column_can_hold_is_refused_with_its_place(call: Callable[[str], Any], word: str) -> None:
    with pytest.raises(InvalidName, match=r"unique_key|created_by"), transaction.atomic():
        call(word)
    assert not Job.objects.exists()


def test_many_jobs_report_the_one_with_an_impossible_key() -> None:
    report = enqueue_many(tasks.once, [{"key": "a"}, {"key": "b\x00"}, {"key": "c\nd"}])
    assert (report.created, [one.index for one in report.rejected]) == (2, [1])


@pytest.mark.parametrize("depth", [1_000, 200_000])
def test_a_json_bomb_is_refused_at_enqueue_with_the_arguments_name(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    with pytest.raises(NotJson, match="argument 'value'"):
        tasks.answer.enqueue(value=deep)
    if depth > 100_000:
        with pytest.raises(NotJson, match="argument 1"):
            tasks.remember.delay(deep)
    assert not Job.objects.exists()


def test_arguments_over_the_limit_are_refused_at_enqueue() -> None:
    for call in (lambda: tasks.answer.enqueue(value="x" * 2_000_000), lambda: tasks.remember.delay("x" * 2_000_000)):
        with pytest.raises(PayloadTooLarge, match="the limit is 131,072"):
            call()
    assert not Job.objects.exists()
