"""Who is looking: to a tenant, an id of another tenant is one that does not exist, whatever it is asked for."""

import datetime as dt
import io
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from celery import group
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from taskyard.celery import get_app
from taskyard.entrypoint.screen import Screen
from taskyard.entrypoint.tail import Tail
from taskyard.execution import steering
from taskyard.execution.pruner import Pruner
from taskyard.jobs import queries
from taskyard.jobs.detail import HeldBack, find_job
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.queries import JobFilter
from taskyard.models import Lease, Worker
from taskyard.tenancy import tenant_context
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime.now(dt.UTC)
BEFORE, AFTER = NOW - dt.timedelta(minutes=1), NOW + dt.timedelta(hours=1)
WITH_TENANTS = override_settings(TASKYARD={"TENANCY": "rows"})
STATES = ("pending", "queued", "running", "succeeded", "failed")


def job_of(tenant: str, state: str = "failed") -> Job:
    job = tasks.nothing.using(tenant=tenant).enqueue(n=1)
    ended = NOW if state in ("succeeded", "failed", "cancelled") else None
    started = NOW if state not in ("pending", "queued") else None
    changed: dict[str, Any] = {"state": state, "finished_at": ended, "started_at": started, "created_at": NOW}
    if state == "running":
        changed |= {"worker": uuid.uuid4(), "time_limit": 1.0, "started_at": BEFORE}
    if state == "failed":
        changed |= {"error": {"type": "ValueError", "message": f"secret of {tenant}"}, "attempt": 1}
        Attempt.objects.create(job=job, number=1, error_type="ValueError", ended_at=NOW)
    Job.objects.filter(id=job.id).update(**changed)
    return Job.objects.get(id=job.id)


# readers

#: Each answers with the ids it shows, or with a number, to whoever is looking.
LISTS: dict[str, Callable[[str | None], Any]] = {
    "list_jobs": lambda t: {job.id for job in queries.list_jobs(JobFilter(tenant=t), limit=99)},
    "matching_ids": lambda t: {one for batch in queries.matching_ids(JobFilter(tenant=t)) for one in batch},
    "created_between": lambda t: {job.id for job in queries.created_between(BEFORE, AFTER, limit=99, tenant=t)},
    "ended_between": lambda t: {job.id for job in queries.ended_between(BEFORE, AFTER, limit=99, tenant=t)},
    "running_jobs": lambda t: {job.id for job in queries.running_jobs(limit=99, tenant=t)},
    "past_their_limit": lambda t: {job.id for job in queries.past_their_limit(AFTER, dt.timedelta(0), tenant=t)},
}
COUNTS: dict[str, Callable[[str | None], Any]] = {
    "queue_overview": lambda t: sum(
        q.due + q.later + q.queued + q.running + q.finished_last_minute for q in queries.queue_overview(NOW, tenant=t)
    ),
    "ended_since": lambda t: sum(queries.ended_since(BEFORE, tenant=t).values()),
    "count_final": lambda t: sum(queries.count_final(["failed", "succeeded"], AFTER, tenant=t).values()),
}


@pytest.mark.parametrize("reader", LISTS)
def test_a_list_shows_a_tenant_its_own_jobs_and_an_operator_all(reader: str) -> None:
    mine, theirs = ([job_of(name, state).id for state in STATES] for name in ("acme", "globex"))
    nobodys = [job_of("", state).id for state in STATES]
    show = LISTS[reader]
    assert show("acme") and show("acme") <= set(mine)
    assert show("globex") and show("globex") <= set(theirs)
    assert show("") and show("") <= set(nobodys)
    assert show("initech") == set()
    assert show(None) == show("acme") | show("globex") | show("")


@pytest.mark.parametrize("reader", COUNTS)
def test_a_count_is_of_the_jobs_of_whoever_is_looking(reader: str) -> None:
    for state in STATES:
        job_of("acme", state)
        job_of("globex", state)
        job_of("globex", state)
    count = COUNTS[reader]
    assert count("acme") > 0
    assert (count("globex"), count(None), count("initech")) == (2 * count("acme"), 3 * count("acme"), 0)


def test_nothing_to_do_is_asked_of_the_jobs_of_whoever_is_looking() -> None:
    job_of("acme", "pending")
    assert [queries.is_idle(tenant=one) for one in ("globex", "acme", None)] == [True, False, False]


def test_an_id_of_another_tenant_is_not_found() -> None:
    job = job_of("acme")
    for tenant, is_shown in (("acme", True), (None, True), ("globex", False), ("", False)):
        assert (find_job(job.id, NOW, held_back=lambda *_: HeldBack(), tenant=tenant) is not None) is is_shown, tenant
        assert (job.id in queries.summaries([job.id], tenant=tenant)) is is_shown, tenant


def test_looking_for_the_id_of_another_tenant_takes_the_same_statements_as_for_one_that_does_not_exist() -> None:
    job = job_of("acme")

    def statements(job_id: uuid.UUID) -> list[str]:
        with CaptureQueriesContext(connection) as found:
            find_job(job_id, NOW, held_back=lambda *_: HeldBack(), tenant="globex")
            steering.cancel([job_id], NOW, tenant="globex")
            steering.retry([job_id], NOW, tenant="globex")
            steering.discard([job_id], NOW, tenant="globex")
        return [one["sql"].replace(str(job_id), "ID").replace(job_id.hex, "ID") for one in found.captured_queries]

    assert statements(job.id) == statements(uuid.uuid4())


def test_a_tenant_is_not_told_of_children_of_others_nor_how_busy_they_are() -> None:
    job = job_of("acme", "pending")
    for tenant in ("acme", "globex"):
        child = job_of(tenant, "pending")
        Job.objects.filter(id=child.id).update(parent=job.id, root=job.id)
    now = dt.datetime.now(dt.UTC)
    Worker.objects.create(
        id=uuid.uuid4(), name="w", host="h", pid=1, queues=[job.queue], slots=7, started_at=now, heartbeat_at=now
    )
    Lease.objects.create(name=f"feeder:{job.queue}", expires_at=AFTER, owner=uuid.uuid4())
    for state in ("pending", "queued"):
        Job.objects.filter(id=job.id).update(state=state)
        detail, whole = (find_job(job.id, now, held_back=lambda *_: HeldBack(), tenant=one) for one in ("acme", None))
        assert detail is not None and whole is not None
        assert (detail.children, whole.children) == ({"pending": 1}, {"pending": 2})
        assert "7 slots" in whole.waits_because
        assert not any(character.isdigit() for character in detail.waits_because)


# verbs


@pytest.mark.parametrize(
    ("verb", "state"),
    [("cancel", "pending"), ("cancel", "running"), ("retry", "failed"), ("discard", "failed")],
)
def test_a_verb_changes_nothing_of_another_tenant(verb: str, state: str) -> None:
    act = getattr(steering, verb)
    mine, theirs = job_of("acme", state), job_of("globex", state)
    before = Job.objects.filter(id=theirs.id).values().get()
    assert act([mine.id, theirs.id], AFTER, tenant="acme") == 1
    assert Job.objects.filter(id=theirs.id).values().get() == before
    assert Job.objects.filter(id=mine.id).values().get() != before
    assert act([theirs.id], AFTER, tenant="acme") == act([uuid.uuid4()], AFTER, tenant="acme") == 0
    assert act([theirs.id], AFTER) == 1


def test_pruning_for_a_tenant_deletes_nothing_of_another() -> None:
    mine, theirs = job_of("acme"), job_of("globex")
    assert Pruner().prune("failed", AFTER, tenant="acme") == 1
    assert list(Job.objects.values_list("id", flat=True)) == [theirs.id]
    assert not Attempt.objects.filter(job_id=mine.id).exists()
    assert Pruner().prune("failed", AFTER) == 1


# commands


def said(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("taskyard", *words, stdout=out, stderr=out)
    except CommandError as error:
        return int(error.returncode), out.getvalue()
    return 0, out.getvalue()


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("show",), "failed"), (("show", "--json"), "failed"),
        (("retry",), "failed"), (("retry", "--dry-run"), "failed"), (("retry", "--json"), "failed"),
        (("cancel",), "pending"), (("cancel", "--dry-run", "--json"), "running"), (("discard",), "failed"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_answers_the_id_of_another_tenant_as_one_that_does_not_exist(
    words: tuple[str, ...], state: str
) -> None:
    job = job_of("acme", state)
    before = Job.objects.filter(id=job.id).values().get()

    def answer(job_id: uuid.UUID, tenant: str) -> tuple[int, str]:
        code, text = said("jobs", words[0], str(job_id), *words[1:], "--tenant", tenant)
        return code, text.replace(str(job_id), "ID")

    assert answer(job.id, "globex") == answer(uuid.uuid4(), "globex")
    assert answer(job.id, "globex")[0] == 1
    assert Job.objects.filter(id=job.id).values().get() == before
    assert answer(job.id, "acme")[0] == 0


def test_commands_that_choose_jobs_choose_of_the_tenants_own() -> None:
    mine, theirs = job_of("acme"), job_of("globex")
    code, text = said("jobs", "list", "--tenant", "acme", "--json")
    assert (code, str(mine.id) in text, str(theirs.id) in text) == (0, True, False)
    assert said("jobs", "retry", "--state", "failed", "--tenant", "acme") == (0, "1 job brought back.\n")
    assert Job.objects.get(id=theirs.id).state == "failed"
    assert "1 failed" in said("jobs", "prune", "--before", "0.001s", "--dry-run", "--tenant", "globex")[1]
    assert "0 failed" in said("jobs", "prune", "--before", "0.001s", "--tenant", "initech")[1]
    assert said("jobs", "retry", str(theirs.id), "--state", "failed", "--tenant", "globex")[0] == 2


def test_following_jobs_tells_a_tenant_of_its_own() -> None:
    out = io.StringIO()
    tail = Tail(Screen(out, out), tenant="acme")
    mine, theirs = job_of("acme", "running"), job_of("globex", "running")
    tail.look(dt.datetime.now(dt.UTC))
    assert (str(mine.id) in out.getvalue(), str(theirs.id) in out.getvalue()) == (True, False)


# Celery's words


@WITH_TENANTS
def test_celerys_result_of_another_tenants_job_is_that_of_an_unknown_id() -> None:
    app = get_app()
    job = job_of("acme", "succeeded")
    Job.objects.filter(id=job.id).update(result=42)
    child = job_of("globex", "succeeded")
    Job.objects.filter(id=child.id).update(parent=job.id, root=job.root)

    def seen() -> tuple[Any, ...]:
        result = app.AsyncResult(str(job.id))
        return result.state, result.result, result.name, result.kwargs

    with tenant_context("acme"):
        assert seen()[:2] == ("SUCCESS", 42)
        assert app.AsyncResult(str(job.id)).children == []
        # Once more: from the backend's cache.
        assert seen()[:2] == ("SUCCESS", 42)
    with tenant_context("globex"):
        unknown = app.AsyncResult(str(uuid.uuid4()))
        assert seen() == (unknown.state, unknown.result, unknown.name, unknown.kwargs)
        with pytest.raises(Exception, match="timed out"):
            app.AsyncResult(str(job.id)).get(timeout=0.05)
        with pytest.raises(Exception, match="timed out"):
            list(app.backend.get_many([str(job.id)], timeout=0.05))
        app.AsyncResult(str(job.id)).forget()
    # Outside of all tenants is an operator.
    assert seen()[:2] == ("SUCCESS", 42)
    assert [one.id for one in app.AsyncResult(str(job.id)).children] == [str(child.id)]
    assert Job.objects.get(id=job.id).result == 42


@WITH_TENANTS
def test_a_revoke_within_a_tenant_reaches_its_own_jobs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    app = get_app()
    monkeypatch.setattr(app.control, "broadcast", lambda *args, **kwargs: told.append(kwargs["arguments"]["task_id"]))
    mine, theirs, untracked = job_of("acme", "pending"), job_of("globex", "pending"), str(uuid.uuid4())
    with tenant_context("acme"):
        app.control.revoke([str(mine.id), str(theirs.id), untracked])
    assert [Job.objects.get(id=one.id).state for one in (mine, theirs)] == ["cancelled", "pending"]
    assert told == [[str(mine.id), untracked]]
    app.control.revoke(str(theirs.id))
    assert Job.objects.get(id=theirs.id).state == "cancelled"


def test_without_tenancy_a_label_hides_nothing_from_celery() -> None:
    job = job_of("acme", "succeeded")
    assert get_app().AsyncResult(str(job.id)).state == "SUCCESS"


@WITH_TENANTS
def test_a_saved_group_of_another_tenant_is_one_that_nobody_saved() -> None:
    app = get_app()
    with tenant_context("acme"):
        saved = group(tasks.add.s(1, 1), tasks.add.s(2, 2)).delay()
        saved.save()
    with tenant_context("globex"):
        assert app.GroupResult.restore(saved.id) is None
        app.GroupResult(saved.id, []).save()
        app.GroupResult(saved.id, []).delete()
        assert app.GroupResult.restore(saved.id) is None
    for looking in ("acme", ""):
        with tenant_context(looking):
            restored = app.GroupResult.restore(saved.id)
            assert [one.id for one in restored.results] == [one.id for one in saved.results]
    with tenant_context("acme"):
        saved.delete()
    assert app.GroupResult.restore(saved.id) is None
