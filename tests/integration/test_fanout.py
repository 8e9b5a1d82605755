"""One call of a task for each of many tenants."""

import dataclasses
import datetime as dt
import itertools
import threading
import tracemalloc
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from taskyard import events
from taskyard.enqueue import EnqueueReport, fanout
from taskyard.errors import ConfigurationError, InvalidTask, TaskyardError
from taskyard.jobs.models import Job
from taskyard.models import TenantPlace
from taskyard.tenancy import enqueue_for_tenants, tenant_context
from tests.app import tasks
from tests.servers.process import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: A ten-minute window, as a nightly purge has it.
WINDOW = dt.timedelta(minutes=10)


@pytest.fixture(params=["as the database has it", *(["by INSERT"] if connection.vendor == "postgresql" else [])])
def way(request: pytest.FixtureRequest) -> Any:
    """COPY, PostgreSQL's, and INSERT must write the same; whoever listens to each job keeps it from being copied."""
    if request.param == "by INSERT":
        events.job_enqueued.connect(listener)
        yield
        events.job_enqueued.disconnect(listener)
    else:
        yield


def listener(**_: object) -> None:
    pass


def offsets() -> dict[str, dt.timedelta]:
    return {job.tenant: job.available_at - job.created_at for job in Job.objects.all()}


@pytest.mark.usefixtures("way")
def test_each_tenant_gets_one_job_of_its_own_with_its_own_arguments() -> None:
    report = enqueue_for_tenants(
        tasks.nothing.using(priority=7, queue_name="low", tags=("nightly",)),
        lambda tenant: {"n": len(tenant)},
        tenants=["acme", "globex", "ini\\tech", "größe"],
    )
    assert report == EnqueueReport(4, 0, ())
    jobs = {job.tenant: job for job in Job.objects.all()}
    assert {name: job.kwargs for name, job in jobs.items()} == {
        "acme": {"n": 4}, "globex": {"n": 6}, "ini\\tech": {"n": 8}, "größe": {"n": 5},
    }  # fmt: skip
    assert {(job.priority, job.queue, tuple(job.tags), job.state) for job in jobs.values()} == {
        (7, "low", ("nightly",), "pending")
    }
    assert all(job.root == job.id for job in jobs.values())
    assert not TenantPlace.objects.exists()


@pytest.mark.usefixtures("way")
def test_a_row_is_the_row_that_an_enqueue_for_that_tenant_writes() -> None:
    one = tasks.once.using(tenant="acme").enqueue(key="k", path="p")
    Job.objects.filter(id=one.id).update(unique_lock=None)
    assert enqueue_for_tenants(tasks.once, {"key": "k", "path": "p"}, tenants=["acme"]).created == 1
    written = Job.objects.exclude(id=one.id).get()
    assert written.unique_lock == one.unique_lock
    for field in Job._meta.concrete_fields:
        if field.name not in {"id", "root", "created_at", "available_at", "unique_lock"}:
            assert getattr(written, field.name) == getattr(Job.objects.get(id=one.id), field.name), field.name


@pytest.mark.usefixtures("way")
def test_unique_keys_are_per_tenant_and_a_second_fan_out_finds_duplicates() -> None:
    tasks.once.using(tenant="acme").enqueue(key="k")
    assert enqueue_for_tenants(tasks.once, {"key": "k"}, tenants=["acme", "globex"]) == EnqueueReport(1, 1, ())
    names = ["acme", "globex", "initech", "initech"]
    assert enqueue_for_tenants(tasks.once, {"key": "k"}, tenants=names) == EnqueueReport(1, 3, ())
    assert sorted(Job.objects.values_list("tenant", flat=True)) == ["acme", "globex", "initech"]


@pytest.mark.usefixtures("way")
def test_a_call_that_cannot_be_written_is_reported_with_its_tenant_and_the_others_are_written() -> None:
    arguments = {"acme": {"n": 1}, "globex": {"n": object()}, "initech": {"m": 2}}
    names = ["acme", "globex", "", "two\nlines", "x" * 64, "initech", "nul\0", "\ud800"]
    report = enqueue_for_tenants(tasks.nothing, lambda name: arguments.get(name, {}), tenants=names, spread=WINDOW)
    assert report.created == 1
    assert [(one.index, one.tenant) for one in report.rejected] == list(enumerate(names))[1:]
    assert "'n'" in report.rejected[0].reason and "needs a tenant" in report.rejected[1].reason
    assert [job.tenant for job in Job.objects.all()] == ["acme"]


def test_all_are_written_in_the_callers_transaction_or_none() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        enqueue_for_tenants(tasks.nothing, tenants=["acme", "globex"], spread=WINDOW)
        assert Job.objects.count() == 2
        raise ZeroDivisionError
    assert not Job.objects.exists()


def test_an_error_of_the_callers_own_undoes_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 2)
    monkeypatch.setattr("taskyard.enqueue.many.CHUNK", 2)
    with pytest.raises(KeyError):
        enqueue_for_tenants(tasks.nothing, lambda name: {"n": {"a": 1, "b": 2, "c": 3}[name]}, tenants=list("abcd"))
    assert not Job.objects.exists()


def test_tenants_and_arguments_may_be_read_from_the_connection_they_are_written_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 3)
    monkeypatch.setattr("taskyard.enqueue.many.CHUNK", 3)
    enqueue_for_tenants(tasks.nothing, tenants=(f"t{n}" for n in range(10)))
    with transaction.atomic():
        seen = Job.objects.filter(task=tasks.nothing.name).values_list("tenant", flat=True).iterator(chunk_size=2)
        report = enqueue_for_tenants(
            tasks.answer,
            lambda name: {"value": Job.objects.filter(tenant=name, task=tasks.nothing.name).count()},
            tenants=seen, spread=WINDOW,
        )  # fmt: skip
    assert report == EnqueueReport(10, 0, ())
    assert {job.kwargs["value"] for job in Job.objects.filter(task=tasks.answer.name)} == {1}


def test_tenant_objects_are_taken_for_their_names() -> None:
    enqueue_for_tenants(tasks.nothing, tenants=[SimpleNamespace(schema_name="acme")])
    assert Job.objects.get().tenant == "acme"


# refusals


@pytest.mark.parametrize(
    ("task", "options", "error", "says"),
    [
        (tasks.nothing.using(tenant="acme"), {"tenants": ["b"]}, TaskyardError, "contradict"),
        (tasks.nothing, {"tenants": "acme"}, TaskyardError, r"\['acme'\]"),
        (tasks.nothing, {"tenants": ["acme", 5]}, TaskyardError, "5 is no tenant"),
        (tasks.nothing, {"tenants": ["acme"], "spread": 600}, TaskyardError, "spread=600"),
        (tasks.nothing, {"tenants": ["acme"], "spread": -WINDOW}, TaskyardError, "not negative"),
        (tasks.nothing, {}, ConfigurationError, "TENANCY is not set"),
        (len, {"tenants": ["acme"]}, InvalidTask, "what @task returned"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused_with_a_sentence(
    task: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        enqueue_for_tenants(task, **options)
    assert not Job.objects.exists()


def test_a_task_that_runs_outside_of_all_tenants_is_refused() -> None:
    public = tasks.nothing.using()
    public.options = dataclasses.replace(public.options, tenant_scope="public")
    with pytest.raises(InvalidTask, match="enqueue it once"):
        enqueue_for_tenants(public, tenants=["acme"])


# with tenancy


@override_settings(
    TASKYARD={"TENANCY": "rows", "TENANTS": lambda name=None: iter(["a", "b"]) if name is None else name}
)
def test_the_ready_tenants_are_the_default_from_inside_of_a_tenant_as_well() -> None:
    with tenant_context("a"):
        assert enqueue_for_tenants(tasks.nothing).created == 2
    assert sorted(Job.objects.values_list("tenant", flat=True)) == ["a", "b"]


# the window


@pytest.mark.usefixtures("way")
def test_ten_thousand_tenants_fill_a_window_evenly() -> None:
    # Names that come in no order, as a project's do.
    names = [f"t{(n * 7919) % 10_007}" for n in range(10_000)]
    assert enqueue_for_tenants(tasks.nothing, tenants=iter(names), spread=WINDOW).created == 10_000
    starts = Counter(int(offset.total_seconds()) for offset in offsets().values())
    assert min(starts) >= 0 and max(starts) < 600
    assert max(starts.values()) <= 1.2 * 10_000 / 600
    assert min(starts.values()) >= 0.8 * 10_000 / 600


@pytest.mark.parametrize("seconds", [10, 60, 300, 900, 1000])
def test_windows_of_other_lengths_are_filled_as_evenly_wherever_the_numbers_begin(seconds: int) -> None:
    window, mean = dt.timedelta(seconds=seconds), 10_000 / seconds
    for first, phase in itertools.product((1, 17, 123_457), (0, fanout._hashed("reports.send"))):
        places = [fanout.place_in(window, "", number=number, phase=phase) for number in range(first, first + 10_000)]
        assert max(places) < window
        assert max(Counter(int(place.total_seconds()) for place in places).values()) <= 1.2 * mean


def test_a_tenant_keeps_its_place_whoever_comes_and_goes() -> None:
    def places(task: Any, names: Any) -> dict[str, dt.timedelta]:
        Job.objects.all().delete()
        enqueue_for_tenants(task, tenants=names, spread=WINDOW)
        return offsets()

    first = places(tasks.nothing, ["a", "b", "c"])
    assert len(set(first.values())) == 3
    assert places(tasks.nothing, ["z", "c", "y", "a"]) | first == places(tasks.nothing, ["a", "b", "c", "y", "z"])
    # Another task has the same tenants in other places.
    Job.objects.all().delete()
    enqueue_for_tenants(tasks.answer, {"value": 1}, tenants=["a"], spread=WINDOW)
    assert offsets()["a"] != first["a"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL who waits")
def test_two_fan_outs_that_number_the_same_tenants_at_once_agree_on_their_places() -> None:
    def second() -> None:
        enqueue_for_tenants(tasks.nothing, tenants=["b", "c", "a"], spread=WINDOW)
        connections.close_all()

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool(cursor.fetchone()[0])

    thread = threading.Thread(target=second)
    with transaction.atomic():
        enqueue_for_tenants(tasks.nothing, tenants=["a", "b"], spread=WINDOW)
        thread.start()
        wait_until(is_waiting, 30, "the second to wait for the first")
    thread.join(timeout=30)
    found = {(job.tenant, job.available_at - job.created_at) for job in Job.objects.all()}
    assert (Job.objects.count(), len(found)) == (5, 3)


def test_the_window_begins_when_the_call_may_run() -> None:
    enqueue_for_tenants(tasks.nothing, tenants=["a"], spread=WINDOW)
    now = offsets()["a"]
    Job.objects.all().delete()
    enqueue_for_tenants(tasks.nothing.using(run_after=dt.timedelta(hours=1)), tenants=["a"], spread=WINDOW)
    assert offsets()["a"] == now + dt.timedelta(hours=1)


def test_a_tenant_without_a_number_has_the_place_of_its_name() -> None:
    places = {fanout.place_in(WINDOW, name, number=None, phase=5) for name in ("a", "b")}
    assert len(places) == 2
    assert places == {fanout.place_in(WINDOW, name, number=None, phase=5) for name in ("a", "b")}


# cost


@pytest.mark.skipif(connection.vendor != "postgresql", reason="COPY is PostgreSQL's")
@pytest.mark.parametrize("spread", [None, WINDOW], ids=["at once", "spread"])
def test_statements_grow_with_chunks_not_with_tenants(spread: Any) -> None:
    def statements(count: int) -> int:
        with CaptureQueriesContext(connection) as queries:
            enqueue_for_tenants(tasks.nothing, tenants=(f"n{n}" for n in range(count)), spread=spread)
        # Whether a wake-up goes out depends on when the last one did.
        return sum("notify" not in query["sql"].lower() for query in queries)

    assert statements(10) == statements(4_000)


@pytest.mark.usefixtures("way")
def test_memory_does_not_grow_with_the_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard.enqueue.many.COPY_CHUNK", 250)
    monkeypatch.setattr("taskyard.enqueue.many.CHUNK", 250)

    def peak(first: int, count: int) -> int:
        tracemalloc.start()
        enqueue_for_tenants(tasks.nothing, tenants=(f"n{n}" for n in range(first, first + count)), spread=WINDOW)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    enqueue_for_tenants(tasks.nothing, tenants=["warm"], spread=WINDOW)
    small = peak(0, 500)
    assert peak(500, 2_000) < 1.25 * small
