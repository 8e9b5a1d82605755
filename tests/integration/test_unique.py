"""One unfinished job per key, whoever asks at the same time: a unique index decides, not a check."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from taskyard import RetryPolicy, enqueue_many, task
from taskyard.celery import get_app
from taskyard.errors import DuplicateJob
from taskyard.execution import steering
from taskyard.models import Job
from taskyard.testing import run_attempt
from tests.app.tasks import once, once_or_raise, once_until_start
from tests.integration.shelf import and_close, wait_for_blocked

in_transaction = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)

#: What the task saw when it enqueued itself while running: whether a new job was made.
made_while_running: list[bool] = []


@task(name="app.by_two", unique=("a", "b"))
def by_two(a: int, b: int, c: int = 0) -> None:
    return None


@task(name="app.by_all", unique=True)
def by_all(a: int, b: int = 1) -> None:
    return None


@task(name="app.by_call", unique=lambda document, force=False: f"document-{document % 10}")
def by_call(document: int, force: bool = False) -> None:
    return None


@task(name="app.again_at_end", unique="key")
def again_at_end(key: str) -> None:
    made_while_running.append(again_at_end.enqueue(key=key).created)


@task(name="app.again_at_start", unique="key", unique_until="start")
def again_at_start(key: str) -> None:
    made_while_running.append(again_at_start.enqueue(key=key).created)


@task(name="app.fails_once_uniquely", unique="key", retry=RetryPolicy(max_retries=1))
def fails(key: str) -> None:
    raise ValueError(key)


def run(job: Any) -> str:
    """One attempt of the job, as a worker's child runs it; its state afterwards."""
    run_attempt(job)
    return str(Job.objects.get(id=job.id).state)


# -- what a key is

SAME: dict[str, tuple[Callable[[], Any], Callable[[], Any], bool]] = {
    "one argument": (lambda: once.enqueue(key="k"), lambda: once.enqueue("k", path="other"), True),
    "another value": (lambda: once.enqueue(key="k"), lambda: once.enqueue(key="l"), False),
    "two arguments": (lambda: by_two.enqueue(1, 2, 3), lambda: by_two.enqueue(b=2, a=1, c=4), True),
    "two in another order": (lambda: by_two.enqueue(1, 2), lambda: by_two.enqueue(2, 1), False),
    "all, one by default": (lambda: by_all.enqueue(1), lambda: by_all.enqueue(a=1, b=1), True),
    "all, one differs": (lambda: by_all.enqueue(1), lambda: by_all.enqueue(1, 2), False),
    "a callable": (lambda: by_call.enqueue(3), lambda: by_call.enqueue(13, force=True), True),
    "a callable, another key": (lambda: by_call.enqueue(3), lambda: by_call.enqueue(4), False),
    "another task": (lambda: once.enqueue("k"), lambda: once_until_start.enqueue("k"), False),
    "another tenant": (lambda: once.enqueue("k"), lambda: once.using(tenant="acme").enqueue("k"), False),
    "the same tenant": (
        lambda: once.using(tenant="acme").enqueue("k"), lambda: once.using(tenant="acme").enqueue("k"), True
    ),
    "by delay": (lambda: once.delay("k"), lambda: once.delay("k"), True),
    "by delay and enqueue": (lambda: once.enqueue("k"), lambda: once.delay(key="k"), True),
    "by enqueue_many": (lambda: once.enqueue("k"), lambda: enqueue_many(once, [{"key": "k"}]), True),
}  # fmt: skip


@in_transaction
@pytest.mark.parametrize("case", SAME)
def test_calls_with_the_same_key_are_one_job(case: str) -> None:
    first, second, are_same = SAME[case]
    first()
    second()

    assert Job.objects.count() == (1 if are_same else 2)


@in_transaction
def test_a_duplicate_gets_the_job_that_exists() -> None:
    first = once.enqueue(key="k")

    second, third = once.enqueue(key="k"), once.delay(key="k")

    assert (first.created, second.created) == (True, False)
    assert second.id == first.id == uuid.UUID(third.id)
    assert second.unique_key == "k"


@in_transaction
def test_on_duplicate_raise_names_the_job_that_exists() -> None:
    first = once_or_raise.enqueue(key="k")

    for send in (once_or_raise.enqueue, once_or_raise.delay):
        with pytest.raises(DuplicateJob, match=str(first.id)) as caught:
            send(key="k")
        assert caught.value.job.id == first.id
    assert Job.objects.count() == 1


# -- how long it is held


@in_transaction
def test_a_key_is_free_again_when_its_job_has_ended() -> None:
    job = once.enqueue(key="k")
    assert run(job) == "succeeded"
    assert once.enqueue(key="k").created


@in_transaction
def test_a_key_is_held_between_attempts_and_free_after_failure() -> None:
    job = fails.enqueue(key="k")
    assert run(job) == "retrying"
    assert not fails.enqueue(key="k").created
    assert run(job) == "failed"
    assert fails.enqueue(key="k").created


@in_transaction
def test_a_key_is_free_after_a_cancel() -> None:
    job = once.enqueue(key="k")
    assert steering.cancel([job.id], timezone.now()) == 1
    assert once.enqueue(key="k").created


@in_transaction
def test_until_start_lets_the_next_in_while_the_job_runs_and_until_end_does_not() -> None:
    made_while_running.clear()
    assert run(again_at_start.enqueue(key="k")) == "succeeded"
    assert run(again_at_end.enqueue(key="k")) == "succeeded"
    assert made_while_running == [True, False]


# -- at the same time


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads whose database connections are closed at the end."""
    with ThreadPoolExecutor(25) as pool:
        yield pool


@committing
@pytest.mark.parametrize("way", ["enqueue", "delay"])
def test_fifty_enqueues_of_one_key_at_once_are_one_job(threads: ThreadPoolExecutor, way: str) -> None:
    get_app().finalize()
    together = threading.Barrier(25)

    def two_calls() -> list[Any]:
        connection.ensure_connection()
        together.wait(30)
        return [getattr(once, way)(key="k") for _ in range(2)]

    calls = [threads.submit(and_close, two_calls) for _ in range(25)]

    jobs = [job for call in calls for job in call.result(60)]
    assert len(jobs) == 50
    assert {str(job.id) for job in jobs} == {str(Job.objects.get().id)}
    if way == "enqueue":
        assert sum(job.created for job in jobs) == 1


@committing
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_enqueue_waits_for_the_transaction_that_is_about_to_take_the_key(
    threads: ThreadPoolExecutor, end: str
) -> None:
    with transaction.atomic():
        first = once.enqueue(key="k")
        second = threads.submit(and_close, once.enqueue, "k")
        wait_for_blocked(1)
        assert not second.done()
        transaction.set_rollback(end == "rollback")

    job = second.result(30)
    assert job.created is (end == "rollback")
    assert (job.id == first.id) is (end == "commit")
    assert Job.objects.count() == 1


@committing
def test_ten_threads_that_want_a_key_do_not_keep_its_owner_from_enqueuing(threads: ThreadPoolExecutor) -> None:
    get_app().finalize()
    with transaction.atomic():
        first = once.delay("k")
        others = [threads.submit(and_close, once.delay, "k") for _ in range(10)]
        wait_for_blocked(10)
        # Celery's own producer pool has ten places, all of them taken by those who wait for this transaction.
        next_one = once.delay("l")
        assert not any(other.done() for other in others)

    assert {other.result(30).id for other in others} == {first.id}
    assert {str(row.id) for row in Job.objects.all()} == {first.id, next_one.id}


@committing
def test_two_enqueue_many_with_the_same_keys_in_opposite_order_do_not_deadlock(threads: ThreadPoolExecutor) -> None:
    keys = [{"key": f"k{number}"} for number in range(99)]
    with transaction.atomic():
        # Both are stopped half way, where each would hold keys the other one wants next.
        once.enqueue(**keys[49])
        reports = [threads.submit(and_close, enqueue_many, once, calls) for calls in (keys, keys[::-1])]
        wait_for_blocked(2)

    assert sorted(one.result(60).created for one in reports) == [0, 98]
    assert Job.objects.count() == 99
