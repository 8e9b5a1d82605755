"""The way in: a call becomes a row in the caller's transaction, whoever calls and however."""

import datetime as dt
import math
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from celery import group, signals
from celery.result import AsyncResult
from django.db import connection, connections, transaction
from django.forms.models import model_to_dict
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, override_settings
from django.urls import path
from django.utils import timezone

from taskyard import enqueue_many, task
from taskyard.celery import get_app, seam
from taskyard.enqueue import CHUNK
from taskyard.errors import InvalidTask, JobNotWaitable, NotJson, PayloadTooLarge, TaskyardError, UnknownQueue
from taskyard.jobs.ids import job_id
from taskyard.models import Job
from taskyard.testing import run_attempt
from tests import servers
from tests.app.models import Note
from tests.app.tasks import add, answer, nothing, once
from tests.servers.process import free_port
from tests.workers import Project

#: Most tests need no commit of their own.
in_transaction = pytest.mark.django_db
committing = pytest.mark.django_db(transaction=True)


@task(name="app.enqueue_two")
def enqueue_two() -> None:
    answer.enqueue(value="by enqueue")
    add.delay(1, 2)


def run(job: Any) -> Job:
    """The job's attempt, as a worker's child runs it; the row afterwards."""
    run_attempt(job)
    return Job.objects.get(id=uuid.UUID(str(job.id)))


# -- every door leads to the same row

WAYS: dict[str, Callable[[], Any]] = {
    "enqueue": lambda: answer.enqueue(value=1),
    "aenqueue": lambda: async_to_sync(answer.aenqueue)(value=1),
    "using": lambda: answer.using().enqueue(value=1),
    "enqueue_many": lambda: enqueue_many(answer, [{"value": 1}]),
    "enqueue_many of the task": lambda: answer.enqueue_many([{"value": 1}]),
    "delay": lambda: answer.delay(value=1),
    "apply_async": lambda: answer.apply_async(kwargs={"value": 1}),
    "send_task": lambda: get_app().send_task("app.answer", kwargs={"value": 1}),
    "signature": lambda: answer.s(value=1).apply_async(),
    "immutable signature": lambda: answer.si(value=1).delay(),
    "celery's task": lambda: get_app().tasks["app.answer"].delay(value=1),
}


@in_transaction
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_send_a_task_writes_the_same_row(way: str) -> None:
    WAYS[way]()

    row = Job.objects.get()
    told = {name: value for name, value in model_to_dict(row).items() if not isinstance(value, dt.datetime)}
    expected = {
        "task": "app.answer", "args": [], "kwargs": {"value": 1}, "queue": "celery", "priority": 0, "state": "pending",
        "attempt": 0, "max_attempts": 1, "tenant": "", "unique_key": None, "due": True, "parent": None, "root": row.id,
    }  # fmt: skip
    assert told | expected == told
    assert row.message is None
    assert row.available_at == row.created_at <= timezone.now()


@in_transaction
def test_the_options_of_a_call_are_kept() -> None:
    note = Note.objects.create(text="about")
    at = timezone.now() + dt.timedelta(days=1)

    job = answer.using(
        queue_name="slow", priority=7, run_after=at, tenant="acme", subject=note, created_by="ann", tags=["a", "b"]
    ).enqueue(1)

    row = Job.objects.get(id=job.id)
    assert (row.queue, row.priority, row.available_at, row.tenant) == ("slow", 7, at, "acme")
    assert (row.created_by, row.tags, row.args, row.due) == ("ann", ["a", "b"], [1], False)
    assert list(Job.objects.for_subject(note).active()) == [row]
    assert not Job.objects.for_subject(Note(pk=note.pk + 1)).active().exists()
    later = answer.using(run_after=dt.timedelta(hours=1)).using(priority=-3).enqueue(1)
    assert later.available_at - later.created_at == dt.timedelta(hours=1)
    assert later.priority == -3
    assert answer.using(priority=5).using(priority=0).enqueue(1).priority == 0


@in_transaction
def test_celerys_options_of_a_call_are_kept() -> None:
    result = add.apply_async(
        (1, 2), countdown=60, expires=120, queue="slow", priority=5, time_limit=9, soft_time_limit=8
    )

    row = Job.objects.get(id=result.id)
    assert row.available_at - row.created_at >= dt.timedelta(seconds=59)
    assert dt.timedelta(seconds=110) < row.expires_at - row.created_at <= dt.timedelta(seconds=120)
    assert (row.queue, row.priority, row.time_limit, row.soft_time_limit) == ("slow", 5, 9, 8)


@in_transaction
def test_an_id_of_the_callers_own_keeps_its_spelling() -> None:
    for _ in range(2):
        result = add.apply_async((1, 2), task_id="report-17")

    row = Job.objects.get()
    assert (result.id, row.task_id, row.id) == ("report-17", "report-17", job_id("report-17"))
    assert run(row).state == "succeeded"
    assert AsyncResult("report-17", app=get_app()).get(timeout=1) == 3


@in_transaction
@pytest.mark.parametrize("value", ["\0", "\ud800", 1e22, 10**30, -0.0, "ü💥", {"a": [None, True, {}]}, ""])
def test_a_json_value_reaches_the_task_as_it_was(value: Any) -> None:
    for result in (answer.enqueue(value), answer.delay(value)):
        done = run(result)
        assert (done.state, done.args, done.result) == ("succeeded", [value], value)
        assert type(done.result) is type(value)


@in_transaction
def test_jobs_enqueued_by_a_running_job_are_its_children() -> None:
    outer = enqueue_two.enqueue()

    assert run(outer).state == "succeeded"

    inner = Job.objects.exclude(id=outer.id)
    assert {(row.task, row.parent, row.root) for row in inner} == {
        ("app.answer", outer.id, outer.id),
        ("tests.app.tasks.add", outer.id, outer.id),
    }
    grandchild = run(inner.get(task="app.answer"))
    assert grandchild.root == outer.id


@in_transaction
def test_publish_signals_fire_when_a_task_is_sent() -> None:
    seen: list[tuple[str, str]] = []

    def before(sender: str, **_: Any) -> None:
        seen.append(("before", sender))

    def after(sender: str, **_: Any) -> None:
        seen.append(("after", sender))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        add.delay(1, 2)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)

    assert seen == [("before", "tests.app.tasks.add"), ("after", "tests.app.tasks.add")]


# -- what cannot be enqueued says so, and leaves nothing behind


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


NOT_JSON = {
    "object": (Odd(), "Odd"),
    "model": (Note(text="x"), "Note"),
    "set": ({1, 2}, "set"),
    "nan": (math.nan, "JSON"),
    "int key": ({1: "a"}, "key 1"),
    "int key inside": ([{"deep": {"deeper": {2: 0}}}], "key 2"),
    "nested": ({"deep": [{"deeper": {3}}]}, "set"),
    "datetime": (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "datetime"),
}


@in_transaction
@pytest.mark.parametrize(("value", "problem"), NOT_JSON.values(), ids=NOT_JSON)
def test_an_argument_that_is_not_json_is_named(value: Any, problem: str) -> None:
    for send in (answer.enqueue, answer.delay):
        with pytest.raises(NotJson, match=r"'app\.answer': argument 'value'") as caught:
            send(value=value)
        assert problem in str(caught.value)
        with pytest.raises(NotJson, match="argument 1"):
            send(value)
    assert not Job.objects.exists()


@in_transaction
def test_a_plain_celery_task_takes_what_celerys_json_takes_and_names_the_rest() -> None:
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    result = get_app().send_task("tests.app.plain.double", ([moment, uuid.UUID(int=7)],))
    assert run(result).state == "succeeded"
    assert AsyncResult(result.id, app=get_app()).get(timeout=1) == [moment, uuid.UUID(int=7)] * 2

    with pytest.raises(NotJson, match="argument 2"):
        add.delay(1, Odd())
    with pytest.raises(NotJson, match="argument 'y'"):
        add.delay(x=1, y=Odd())
    assert Job.objects.count() == 1


@in_transaction
@override_settings(TASKYARD={"MAX_PAYLOAD_BYTES": 1000})
def test_a_payload_that_is_too_large_says_how_large_it_may_be() -> None:
    for send in (answer.enqueue, answer.delay, get_app().tasks["tests.app.plain.double"].delay):
        with pytest.raises(PayloadTooLarge, match="the limit is 1,000"):
            send("x" * 1000)
    answer.enqueue("x" * 900)
    assert Job.objects.count() == 1


@in_transaction
@override_settings(TASKYARD={"QUEUES": ["celery", "slow"]})
def test_a_queue_that_is_not_declared_is_refused() -> None:
    with pytest.raises(UnknownQueue, match=r"'sluw' is not declared\. Known queues: celery, slow"):
        answer.using(queue_name="sluw").enqueue(1)
    with pytest.raises(UnknownQueue):
        answer.apply_async((1,), queue="sluw")
    assert answer.using(queue_name="slow").enqueue(1).queue == "slow"
    assert Job.objects.count() == 1


@in_transaction
def test_calls_that_make_no_sense_are_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidTask, match="between -100 and 100, not 101"):
        answer.using(priority=101)
    with pytest.raises(TaskyardError, match="has no time zone"):
        answer.using(run_after=dt.datetime(2030, 1, 1)).enqueue(1)
    with pytest.raises(TaskyardError, match="run_after=2 is no time"):
        answer.using(run_after=2).enqueue(1)  # type: ignore[arg-type]
    with pytest.raises(TaskyardError, match="not saved yet"):
        answer.using(subject=Note(text="new")).enqueue(1)
    with pytest.raises(TaskyardError, match="jobs live in 'default'"):
        answer.using(database="other").enqueue(1)
    with pytest.raises(TypeError, match=r"app\.answer\(value: .*unexpected keyword argument 'nope'"):
        answer.enqueue(value=1, nope=1)
    with pytest.raises(TypeError, match=r"app\.answer\(value: .*missing a required argument: 'value'"):
        answer.enqueue()
    with pytest.raises(TypeError):
        answer.delay(nope=1)
    assert not Job.objects.exists()


# -- many at once


@in_transaction
def test_enqueue_many_reports_what_it_wrote_what_existed_and_what_it_refused() -> None:
    once.enqueue(key="held")
    calls: list[dict[str, Any]] = [
        {"key": "a"}, {"key": "held"}, {"key": {1}}, {"key": "b"}, {"key": "c", "nope": 1}, {"key": "a"}
    ]  # fmt: skip

    report = enqueue_many(once, (call for call in calls))

    assert (report.created, report.duplicates) == (2, 2)
    assert [one.index for one in report.rejected] == [2, 4]
    assert "argument 'key'" in report.rejected[0].reason
    assert "unexpected keyword argument 'nope'" in report.rejected[1].reason
    assert sorted(Job.objects.values_list("unique_key", flat=True)) == ["a", "b", "held"]


@in_transaction
def test_enqueue_many_holds_few_calls_at_a_time_however_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", CHUNK)

    class Call(dict):  # type: ignore[type-arg]
        __hash__ = object.__hash__

    alive: weakref.WeakSet[Call] = weakref.WeakSet()
    most = 0

    def calls() -> Iterator[Call]:
        nonlocal most
        for number in range(6 * CHUNK + 10):
            call = Call(n=number)
            alive.add(call)
            most = max(most, len(alive))
            yield call

    report = enqueue_many(nothing, calls())

    assert report.created == Job.objects.count() == 6 * CHUNK + 10
    # The chunk that is being written and the one that is being taken.
    assert most <= 2 * CHUNK + 2


@in_transaction
def test_spread_makes_jobs_due_evenly_over_the_time() -> None:
    enqueue_many(nothing, ({"n": n} for n in range(20)), spread=dt.timedelta(hours=1))

    rows = Job.objects.order_by("available_at")
    waits = [(row.available_at - row.created_at).total_seconds() for row in rows]
    gaps = [later - earlier for earlier, later in zip([*waits, 3600], [*waits[1:], 3600, 3600], strict=True)]
    assert min(waits) == 0
    assert max(waits) < 3600
    # A perfectly even spread has gaps of 180 s.
    assert max(gaps) < 3 * 180
    assert {row.due for row in rows} == {True, False}


@in_transaction
def test_a_group_is_written_by_one_insert(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(3 if connection.vendor == "mysql" else 1):
        group(add.s(n, n) for n in range(100)).apply_async()

    assert Job.objects.count() == 100
    assert Job.objects.values("root").distinct().count() == 1


# -- transactions


@committing
def test_delay_on_commit_enqueues_in_the_transaction_and_knows_the_id() -> None:
    with transaction.atomic():
        kept = add.delay_on_commit(1, 2)
        assert Job.objects.filter(id=kept.id).exists()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add.apply_async_on_commit((1, 2))
        raise ZeroDivisionError

    assert [str(row.id) for row in Job.objects.all()] == [kept.id]


@committing
def test_waiting_for_a_job_of_the_open_transaction_explains_itself() -> None:
    with transaction.atomic():
        result = add.delay(1, 2)
        with pytest.raises(JobNotWaitable, match="transaction that is still open"):
            result.get(timeout=5)
        with pytest.raises(JobNotWaitable):
            group(add.s(1, 1), add.s(2, 2)).apply_async().get(timeout=5)


async def view(request: HttpRequest) -> JsonResponse:
    result = add.delay(1, 2)
    job = await answer.aenqueue(value=1)
    return JsonResponse({"ids": [result.id, str(job.id)]})


urlpatterns = [path("enqueue", view)]


@committing
@override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
def test_delay_works_in_an_async_view() -> None:
    try:
        response = async_to_sync(AsyncClient().get)("/enqueue")
    finally:
        # The thread lives as long as the process; its connection must not outlive the test's database.
        seam._INSERT_THREAD.submit(connections.close_all).result()

    ids = response.json()["ids"]
    assert sorted(str(row.id) for row in Job.objects.all()) == sorted(ids)


# -- nothing but the database is needed

ENQUEUE = """
import time
from django.db import transaction
from celery import group
from tests.app.tasks import add, answer
from taskyard.models import Job
start = time.monotonic()
with transaction.atomic():
    answer.enqueue(value=1)
    add.delay(1, 2)
    add.apply_async((1, 2), countdown=5, link=add.s(1))
    (add.s(1, 2) | add.s(3)).apply_async()
    group(add.s(1, 2), add.s(3, 4)).apply_async()
print(Job.objects.count(), time.monotonic() - start)
"""


def assert_enqueue_is_prompt(project: Project, address: str) -> None:
    project.broker_url = address
    project.celery = {"RESULT_BACKEND": address}
    count, seconds = project.run_python(ENQUEUE).split()
    assert int(count) == 6
    # Redis's own patience is 20 retries, or a minute with a server that does not answer.
    assert float(seconds) < 4


def test_an_enqueue_returns_though_broker_and_result_backend_are_away(project: Project) -> None:
    assert_enqueue_is_prompt(project, f"redis://127.0.0.1:{free_port()}/0")


def test_an_enqueue_returns_though_broker_and_result_backend_are_frozen(project: Project) -> None:
    with servers.private_redis() as redis:
        redis.freeze()
        assert_enqueue_is_prompt(project, redis.url)
