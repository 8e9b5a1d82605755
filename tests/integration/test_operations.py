"""What an operator does: to one job, to many, and what is written down about it."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from taskyard.errors import (
    Discard,
    DuplicateJob,
    JobCancelled,
    NotAllowed,
    NotFound,
    PayloadError,
    StillHidden,
    TaskyardError,
    WrongState,
)
from taskyard.jobs.current import entered
from taskyard.jobs.models import Job
from taskyard.jobs.queries import JobFilter
from taskyard.models import ApiToken, AuditEntry, QueueSetting
from taskyard.operations import Actor, audit, jobs, queues, schedules, tokens
from taskyard.operations.bulk import order, run
from taskyard.operations.bulk.pacing import paced
from taskyard.operations.bulk.selection import selection_from_json
from taskyard.operations.bulk.task import operate
from taskyard.schedules import Every, Schedule
from taskyard.tasks.doors import door
from taskyard.tenancy import tenant_context
from tests.app import plain, tasks
from tests.integration.shelf import put

pytestmark = pytest.mark.django_db

NOW = timezone.now()
SECOND = dt.timedelta(seconds=1)
SYSTEM = Actor.system("root", via="test", address="10.0.0.7")
EAGER = override_settings(CELERY_TASK_ALWAYS_EAGER=True)


def failed(count: int = 1, **values: Any) -> list[Job]:
    """Jobs that failed, one a second, the last one just now."""
    said: dict[str, Any] = {"state": "failed", "attempt": 1, "error": {"type": "E", "message": "m"}, **values}
    return [put(NOW - 9 * SECOND, finished_at=NOW - place * SECOND, **said) for place in range(count)]


def states() -> dict[str, int]:
    found: dict[str, int] = {}
    for state in Job.objects.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def user_with(*codenames: str, name: str = "ann", **values: Any) -> User:
    user = User.objects.create_user(name, **values)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return User.objects.get(pk=user.pk)


# -- who acts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "is_superuser", "current", "sees"),
    [
        (None, False, "", None),
        ({"TENANCY": "rows"}, True, "", None),
        ({"TENANCY": "rows"}, False, "", ""),
        ({"TENANCY": "rows"}, False, "acme", "acme"),
        ({"TENANCY": "rows"}, True, "acme", "acme"),
        ({"TENANCY": "rows", "TENANT_OF_USER": lambda user: "acme"}, True, "", "acme"),
        ({"TENANCY": "rows", "TENANT_OF_USER": lambda user: "acme"}, False, "acme", "acme"),
        ({"TENANCY": "rows", "TENANT_OF_USER": lambda user: None}, False, "acme", "acme"),
        ({"TENANCY": "rows", "TENANT_OF_USER": lambda user: None}, False, "", None),
    ],
)
def test_a_user_sees_a_tenant_or_all_of_them(setting: Any, is_superuser: bool, current: str, sees: str | None) -> None:
    user = user_with("retry_job", is_superuser=is_superuser)
    with override_settings(TASKYARD=setting or {}):
        if current:
            with tenant_context(current):
                actor = Actor.of_user(user)
        else:
            actor = Actor.of_user(user)
    assert actor.tenant == sees
    actor.require("retry_job")


def test_a_user_of_one_tenant_may_do_nothing_within_another() -> None:
    user = user_with("retry_job", is_superuser=True)
    with override_settings(TASKYARD={"TENANCY": "rows", "TENANT_OF_USER": lambda user: "acme"}):
        with tenant_context("globex"):
            actor = Actor.of_user(user)
    with pytest.raises(NotAllowed, match=r"ann may not do this: it takes the permission 'taskyard.retry_job'"):
        actor.require("retry_job")


def test_nobody_in_particular_may_do_nothing() -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.1")
    request.user = AnonymousUser()
    actor = Actor.of_request(request, via="api")
    assert (actor.name, actor.user, actor.address, actor.may("view_job")) == ("nobody", "", "192.0.2.1", False)
    assert not Actor.of_user(user_with("view_job", is_active=False)).may("view_job")


def test_keeping_to_a_tenant_narrows_and_never_widens() -> None:
    assert SYSTEM.within("acme").tenant == "acme"
    with pytest.raises(NotFound, match="no tenant globex"):
        SYSTEM.within("acme").within("globex")


# -- what is written down ----------------------------------------------------------------------------------------------


def test_an_entry_says_who_did_what_to_what_from_where() -> None:
    [job] = failed(tenant="acme")
    user = user_with("retry_job")
    jobs.retry(Actor.of_user(user, via="api", address="192.0.2.1"), [job.id], reason="the disk is mended")
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.user, entry.via, entry.address) == ("ann", str(user.pk), "api", "192.0.2.1")
    assert (entry.kind, entry.verb, entry.target, entry.tenant) == ("job", "retry", str(job.id), "acme")
    assert (entry.before, entry.after, entry.count) == ({"state": "failed"}, {"state": "pending"}, 1)
    assert entry.reason == "the disk is mended"


def test_what_is_not_written_down_was_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    [job] = failed()

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no room for entries")

    monkeypatch.setattr(AuditEntry, "save", broken)
    for act in (
        lambda: jobs.retry(SYSTEM, [job.id]),
        lambda: jobs.discard(SYSTEM, [job.id]),
        lambda: jobs.copy(SYSTEM, job.id),
        lambda: jobs.edit(SYSTEM, job.id, kwargs={"n": 2}),
        lambda: queues.pause(SYSTEM, ["low"]),
        lambda: schedules.define(SYSTEM, name="x", recurrence=Every(60 * SECOND), task=tasks.nothing),
    ):
        with pytest.raises(RuntimeError):
            act()
    assert (states(), Schedule.objects.count(), queues.paused()) == ({"failed": 1}, 0, {})


def test_entries_of_a_tenant_are_shown_to_it_and_those_of_several_to_operators_alone() -> None:
    [mine], [theirs] = failed(tenant="acme"), failed(tenant="globex")
    jobs.retry(SYSTEM, [mine.id])
    jobs.discard(SYSTEM, [mine.id, theirs.id])
    assert [entry.verb for entry in audit.list_(SYSTEM.within("acme"))] == ["retry"]
    assert audit.list_(SYSTEM.within("globex")) == []
    newest, oldest = audit.list_(SYSTEM)
    assert (newest.target, newest.count) == ("2 jobs", 1)
    assert set(newest.said["ids"]) == {str(mine.id), str(theirs.id)}
    assert audit.list_(SYSTEM, before=newest.pk) == [oldest]
    for wanted, found in (
        ({"who": "root"}, 2), ({"who": "zoe"}, 0), ({"verb": "retry"}, 1), ({"target": str(mine.id)}, 1),
        ({"since": timezone.now() + SECOND}, 0), ({"kind": "queue"}, 0), ({"via": "test"}, 2),
    ):  # fmt: skip
        assert len(audit.list_(SYSTEM, audit.AuditFilter(**wanted))) == found, wanted


def test_a_page_of_entries_is_read_from_an_index() -> None:
    for tenant in ("acme", None):
        with CaptureQueriesContext(connection) as found:
            audit.list_(SYSTEM.within(tenant), before=10**6)
        [statement] = found.captured_queries
        if connection.vendor != "sqlite":
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement['sql']}")
            plan = " ".join(str(row) for row in cursor.fetchall())
        assert "SEARCH" in plan
        assert "TEMP B-TREE" not in plan


# -- one job -----------------------------------------------------------------------------------------------------------


def test_a_job_is_edited_and_brought_back_in_one_and_the_audit_does_not_keep_its_arguments() -> None:
    job = tasks.nothing.enqueue(n=111_222)
    Job.objects.filter(id=job.id).update(state="failed", finished_at=NOW, attempt=1)
    jobs.edit(SYSTEM, job.id, kwargs={"n": 333_444})
    job.refresh_from_db()
    assert (job.state, job.kwargs, job.max_attempts) == ("pending", {"n": 333_444}, 2)
    entry = AuditEntry.objects.get()
    assert entry.said == {"changed": ["n"]}
    assert not [secret for secret in ("111222", "333444") if secret in json.dumps(vars(entry), default=str)]


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [({"m": 1}, TypeError), ({"n": object()}, PayloadError), ({"n": "x" * 200_000}, PayloadError)],
)
def test_arguments_that_the_task_does_not_take_change_nothing(kwargs: Any, error: Any) -> None:
    job = tasks.nothing.enqueue(n=1)
    Job.objects.filter(id=job.id).update(state="failed", finished_at=NOW, attempt=1)
    for act in (jobs.edit, jobs.copy):
        with pytest.raises(error):
            act(SYSTEM, job.id, kwargs=kwargs)
    assert (states(), Job.objects.get().kwargs, AuditEntry.objects.count()) == ({"failed": 1}, {"n": 1}, 0)


def test_only_a_job_that_has_ended_is_edited_or_copied() -> None:
    job = tasks.nothing.enqueue(n=1)
    for act in (jobs.edit, jobs.copy):
        with pytest.raises(WrongState, match=r"it is pending, and must be"):
            act(SYSTEM, job.id, kwargs={"n": 2})
    Job.objects.filter(id=job.id).update(state="succeeded", finished_at=NOW)
    with pytest.raises(WrongState):
        jobs.edit(SYSTEM, job.id, kwargs={"n": 2})
    assert jobs.copy(SYSTEM, job.id).kwargs == {"n": 1}


def test_a_new_key_is_held_from_the_edit_on_and_one_that_is_held_is_refused() -> None:
    holder = tasks.once.enqueue(key="taken")
    job = tasks.once.enqueue(key="mine")
    Job.objects.filter(id=job.id).update(state="failed", finished_at=NOW, attempt=1, unique_lock=None)
    for act in (jobs.edit, jobs.copy):
        with pytest.raises(DuplicateJob) as refused:
            act(SYSTEM, job.id, kwargs={"key": "taken"})
        assert refused.value.job.id == holder.id
    assert Job.objects.get(id=job.id).kwargs == {"key": "mine"}
    jobs.edit(SYSTEM, job.id, kwargs={"key": "free"})
    assert tasks.once.enqueue(key="free").id == job.id


def test_a_copy_is_like_its_job_and_leaves_it_as_it_is() -> None:
    job = tasks.nothing.using(tenant="acme", priority=7, tags=["a"]).enqueue(n=5)
    Job.objects.filter(id=job.id).update(
        state="failed", finished_at=NOW, attempt=3, max_attempts=9, subject_type="app.note", subject_id="3",
        error={"type": "E"}, queue="low",
    )  # fmt: skip
    copy = Job.objects.get(id=jobs.copy(SYSTEM, job.id).id)
    for name in ("task", "kwargs", "tenant", "priority", "tags", "subject_type", "subject_id", "queue"):
        assert getattr(copy, name) == getattr(Job.objects.get(id=job.id), name), name
    assert (copy.state, copy.attempt, copy.max_attempts, copy.error) == ("pending", 0, 1, None)
    assert (copy.created_by, copy.root, copy.parent) == ("root", copy.id, None)
    assert Job.objects.get(id=job.id).state == "failed"
    assert AuditEntry.objects.get().said == {"copy": str(copy.id), "changed": []}


def test_a_job_of_celerys_own_task_is_copied_without_what_was_to_follow() -> None:
    result = plain.double.apply_async((1,), link=plain.say.s(3), priority=4)
    Job.objects.filter(id=result.id).update(state="failed", finished_at=NOW, attempt=1)
    copy = Job.objects.get(id=jobs.copy(SYSTEM, uuid.UUID(result.id), args=[3]).id)
    assert (copy.task, copy.args, copy.state) == ("tests.app.plain.double", [3], "pending")
    assert "plain.say" in json.dumps(Job.objects.get(id=result.id).message)
    assert "plain.say" not in json.dumps(copy.message)


def test_a_copy_with_other_arguments_takes_the_permission_to_edit() -> None:
    job = tasks.nothing.enqueue(n=1)
    Job.objects.filter(id=job.id).update(state="failed", finished_at=NOW, attempt=1)
    actor = Actor.of_user(user_with("enqueue_job", "view_payload"))
    with pytest.raises(NotAllowed, match="edit_job"):
        jobs.copy(actor, job.id, kwargs={"n": 2})
    assert jobs.copy(actor, job.id).kwargs == {"n": 1}


def test_so_many_ids_are_no_selection() -> None:
    with pytest.raises(TaskyardError, match="1,001 jobs are named, and 1,000 may be"):
        jobs.retry(SYSTEM, [uuid.uuid4() for _ in range(1001)])


def test_an_interface_enqueues_for_its_own_tenant_and_signs_itself() -> None:
    actor = SYSTEM.within("acme")
    job = jobs.enqueue(actor, "app.nothing", kwargs={"n": 1}, priority=3, created_by="somebody else")
    assert (job.tenant, job.priority, job.created_by) == ("acme", 3, "root")
    with pytest.raises(NotFound):
        jobs.enqueue(actor, "app.nothing", tenant="globex")


def test_an_edit_of_what_is_shown_keeps_the_secrets_that_are_stored() -> None:
    stored = {"word": "Sesame-1", "answer": "Sesame-2", "note": "ftp://u:Sesame-3@host"}
    rows = [put(NOW, task="app.blurts", args=[], kwargs=stored, state="failed", finished_at=NOW) for _ in range(2)]
    shown = jobs.show(SYSTEM, rows[0].id).fields["kwargs"]
    assert "Sesame-1" not in repr(shown) and "Sesame-3" not in repr(shown)

    jobs.edit(SYSTEM, rows[0].id, kwargs={**shown, "answer": "other"})
    copy = jobs.copy(SYSTEM, rows[1].id, kwargs={**shown, "answer": "other"})

    for job_id in (rows[0].id, copy.id):
        assert Job.objects.get(id=job_id).kwargs == {**stored, "answer": "other"}
    assert [entry.said["changed"] for entry in AuditEntry.objects.all()] == [["answer"]] * 2
    with pytest.raises(StillHidden):
        jobs.edit(SYSTEM, rows[1].id, kwargs={"word": "x", "answer": "y", "note": "[redacted]"})
    assert Job.objects.get(id=rows[1].id).state == "failed"


# -- many jobs ---------------------------------------------------------------------------------------------------------


def carried_out(name: str, wanted: JobFilter, actor: Actor = SYSTEM, **said: Any) -> run.Run:
    with order.here(actor, order.order(actor, name, wanted, **said)) as one:
        for _ in one.steps():
            pass
    return one


def test_a_preview_counts_and_names_without_changing() -> None:
    rows = failed(25)
    put(NOW)
    seen = order.preview(SYSTEM, order.order(SYSTEM, "retry", JobFilter(task="app.*")))
    assert (seen.count, seen.is_more, len(seen.sample)) == (25, False, 20)
    assert seen.sample[0].id == rows[0].id
    assert (states(), AuditEntry.objects.count()) == ({"failed": 25, "pending": 1}, 0)


def test_a_preview_stops_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "MOST_COUNTED", 3)
    failed(5)
    seen = order.preview(SYSTEM, order.order(SYSTEM, "retry", JobFilter()))
    assert (seen.count, seen.is_more) == (3, True)


@pytest.mark.parametrize(("name", "state"), [("retry", "failed"), ("discard", "failed"), ("cancel", "pending")])
def test_many_are_done_batch_by_batch_with_one_entry(name: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH", 3)
    if state == "failed":
        failed(8, tenant="acme")
        failed(2, tenant="globex")
    else:
        for place in range(10):
            due = place % 2 == 0
            tenant = "globex" if place > 7 else "acme"
            put(NOW, due=due, available_at=NOW if due else NOW + SECOND, tenant=tenant)
    one = carried_out(name, JobFilter(tenant="acme"))
    assert (one.seen, one.changed) == (8, 8)
    assert Job.objects.filter(tenant="globex", state=state).count() == 2
    entry = AuditEntry.objects.get()
    assert (entry.count, entry.tenant, entry.after["ended"], entry.after["looked_at"]) == (8, "acme", "done", 8)


def test_whoever_ended_at_one_instant_is_met_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH", 2)
    for _ in range(7):
        # The step of a chain that never ran is not brought back: it stays, and must not be met again.
        put(NOW, state="failed", finished_at=NOW, error={"reason": "upstream"})
    one = carried_out("retry", JobFilter())
    assert (one.seen, one.changed) == (7, 0)


def test_what_comes_to_match_meanwhile_is_not_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH", 2)
    failed(5)
    with order.here(SYSTEM, order.order(SYSTEM, "retry", JobFilter(states=("failed",)))) as one:
        for _ in one.steps():
            # Each fails again at once.
            Job.objects.filter(state="pending").update(state="failed", finished_at=timezone.now())
            assert one.seen <= 5
    assert (one.seen, one.changed) == (5, 5)


def test_what_ends_after_it_was_asked_for_is_not_meant() -> None:
    ask = order.order(SYSTEM, "retry", JobFilter())
    put(NOW - 9 * SECOND, state="failed", attempt=1, finished_at=timezone.now())
    with order.here(SYSTEM, ask) as one:
        assert list(one.steps()) == []


def test_an_abort_leaves_the_rest_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH", 2)
    failed(6)
    with pytest.raises(KeyboardInterrupt):
        with order.here(SYSTEM, order.order(SYSTEM, "retry", JobFilter())) as one:
            for _ in one.steps():
                raise KeyboardInterrupt
    entry = AuditEntry.objects.get()
    assert (entry.count, entry.after["ended"], states()) == (2, "aborted", {"pending": 2, "failed": 4})


def test_whoever_waits_is_asked_whether_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, checks = 100.0, []

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(run, "paced", lambda *given: paced(*given, monotonic=lambda: now, wait=wait))
    failed(10)
    with order.here(SYSTEM, order.order(SYSTEM, "retry", JobFilter(), rate=2.0)) as one:
        for _ in one.steps(lambda: checks.append(now)):
            pass
    assert now - 100.0 == pytest.approx(10 / 2.0)
    # Before each of the ten, and twice between each two.
    assert len(checks) == 30


def test_members_of_a_batch_are_chosen(batches_of_two: None) -> None:
    batch = uuid.uuid4()
    failed(5, batch=batch)
    failed(2)
    put(NOW, batch=batch)
    assert len(jobs.list_(SYSTEM, JobFilter(batch=batch))) == 6
    assert len(jobs.page(SYSTEM, JobFilter(batch=batch)).rows) == 6
    assert len(jobs.list_(SYSTEM, JobFilter(batch=batch, states=("failed",)))) == 5
    asked = order.order(SYSTEM, "discard", JobFilter(batch=batch))
    assert selection_from_json(json.loads(json.dumps(asked.selection.to_json()))) == asked.selection
    with order.here(SYSTEM, asked) as one:
        assert [each.seen for each in one.steps()] == [2, 4, 5]
    assert states() == {"cancelled": 5, "failed": 2, "pending": 1}


@pytest.mark.django_db(transaction=True)
@EAGER
def test_a_job_of_ours_does_it_and_shows_how_far_it_is() -> None:
    failed(4)
    # What is brought back would run as well.
    job = order.start(SYSTEM, order.order(SYSTEM, "discard", JobFilter(), reason="stale"))
    job = Job.objects.get(id=job.id)
    assert (job.state, job.result) == ("succeeded", {"looked_at": 4, "changed": 4})
    assert (job.progress_current, job.progress_total, job.created_by, job.priority) == (4, 4, "root", 100)
    entry = AuditEntry.objects.get()
    assert (entry.job, entry.count, entry.after["ended"]) == (job.id, 4, "done")
    assert {row.error["message"] for row in Job.objects.filter(state="cancelled")} == {"stale"}


@pytest.mark.django_db(transaction=True)
@EAGER
def test_what_has_ended_is_not_done_again() -> None:
    failed(2)
    job = order.start(SYSTEM, order.order(SYSTEM, "discard", JobFilter()))
    failed(2)
    jobs.cancel(SYSTEM, [job.id])
    Job.objects.filter(id=job.id).update(state="failed", attempt=1)
    jobs.retry(SYSTEM, [job.id])
    door("run_eagerly")([job.id], "default")
    assert (Job.objects.get(id=job.id).state, states()["failed"]) == ("cancelled", 2)


@EAGER
def test_whoever_can_enqueue_has_nothing_done_by_it() -> None:
    failed(2)
    with order.here(SYSTEM, order.order(SYSTEM, "discard", JobFilter())):
        entry = AuditEntry.objects.get()
    AuditEntry.objects.update(after=None)
    job = Job.objects.get(id=operate.enqueue(entry=entry.pk).id)
    assert (job.state, job.error["message"]) == ("cancelled", "no audit entry names this job")
    assert states()["failed"] == 2


@EAGER
@pytest.mark.parametrize("change", ["permission", "tenant", "user"])
def test_whoever_may_no_more_when_it_runs_has_nothing_done(change: str) -> None:
    failed(2)
    user, key = (found := user_with("discard_job")), str(found.pk)
    ask = order.order(Actor.of_user(user), "discard", JobFilter())
    if change == "permission":
        user.user_permissions.clear()
    elif change == "user":
        user.delete()
    settings = {"TENANT_OF_USER": lambda user: "acme"} if change == "tenant" else {}
    with override_settings(TASKYARD=settings):
        actor = Actor(name="ann", user=key, may=lambda codename: True)
        job = Job.objects.get(id=order.start(actor, ask).id)
    assert (job.state, "may not do this" in job.error["message"]) == ("cancelled", True)
    assert states()["failed"] == 2


def test_a_secret_in_a_reason_is_stored_nowhere() -> None:
    said = "the server is back, password=Sesame-1"
    row = Schedule.objects.define(name="nightly", recurrence=Every(dt.timedelta(hours=1)), task=tasks.nothing)
    schedules.pause(SYSTEM, row, reason=said)
    queues.pause(SYSTEM, ["low"], reason=said)
    row.refresh_from_db()
    kept = [row.pause_reason, QueueSetting.objects.get().reason, *AuditEntry.objects.values_list("reason", flat=True)]
    assert kept == ["the server is back, password=[redacted]"] * 4


def by_token(user: User | None) -> Actor:
    actor = tokens.actor_of(tokens.create(SYSTEM, "t", scopes=["discard_job"], user=user).secret, via="api")
    assert actor is not None
    return actor


@EAGER
@pytest.mark.parametrize("whose", ["nobody's", "a user's"])
@pytest.mark.parametrize("end", ["revoked", "deleted", "expired"])
def test_what_a_token_began_is_not_done_once_somebody_ended_it(whose: str, end: str) -> None:
    failed(2)
    actor = by_token(user_with("discard_job") if whose == "a user's" else None)
    ask = order.order(actor, "discard", JobFilter())
    if end == "revoked":
        tokens.revoke(SYSTEM, actor.token)
    elif end == "deleted":
        ApiToken.objects.all().delete()
    else:
        ApiToken.objects.update(expires_at=timezone.now())
    job, entry = Job.objects.get(id=order.start(actor, ask).id), AuditEntry.objects.get(verb="discard")
    if end == "expired":
        assert (job.state, entry.after["ended"], states().get("failed")) == ("succeeded", "done", None)
    else:
        assert (job.state, entry.after["ended"], states()["failed"]) == ("cancelled", "aborted", 2)
        assert job.error["message"].startswith("it was asked for with a key to the HTTP API that was revoked")


class Stopped:
    """A running job that is asked to stop after some looks."""

    def __init__(self, job_id: uuid.UUID, looks: int, checkpoint: Any = None) -> None:
        self.id, self.looks, self.checkpoint, self.said = job_id, looks, checkpoint, []

    def raise_if_cancelled(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise JobCancelled(str(self.id))

    def progress(self, *said: Any) -> None:
        self.said.append(said)


@pytest.fixture
def batches_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(run, "BATCH", 2)
    yield


def test_a_cancel_of_the_job_is_an_abort(batches_of_two: None) -> None:
    failed(6)
    job = order.start(SYSTEM, order.order(SYSTEM, "discard", JobFilter()))
    with entered(Stopped(job.id, 2)), pytest.raises(JobCancelled):  # type: ignore[arg-type]
        operate(entry=AuditEntry.objects.get().pk)
    entry = AuditEntry.objects.get()
    assert (entry.count, entry.after["ended"]) == (4, "aborted")
    assert states() == {"failed": 2, "cancelled": 4, "pending": 1}


@pytest.mark.parametrize("how", ["its token is revoked", "its user loses the permission"])
def test_whoever_may_no_more_while_it_runs_has_no_further_batch_done(how: str, batches_of_two: None) -> None:
    failed(6)
    user = user_with("discard_job")
    actor = by_token(None) if how == "its token is revoked" else Actor.of_user(user)
    job = Stopped(order.start(actor, order.order(actor, "discard", JobFilter())).id, 99)

    def end(*said: Any) -> None:
        if how == "its token is revoked":
            tokens.revoke(SYSTEM, actor.token)
        user.user_permissions.clear()

    job.progress = end  # type: ignore[method-assign]
    with entered(job), pytest.raises(Discard):  # type: ignore[arg-type]
        operate(entry=AuditEntry.objects.get(verb="discard").pk)
    entry = AuditEntry.objects.get(verb="discard")
    assert (entry.count, entry.after["ended"], states()["failed"]) == (2, "aborted", 4)


def test_a_run_that_was_cut_off_goes_on_where_it_was_and_counts_each_job_once(
    batches_of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(6)
    job = order.start(SYSTEM, order.order(SYSTEM, "discard", JobFilter()))
    entry = AuditEntry.objects.get()
    first = Stopped(job.id, 99)

    def cut_off(*said: Any) -> None:
        raise SystemExit

    first.progress = cut_off  # type: ignore[method-assign]
    with entered(first), pytest.raises(SystemExit):  # type: ignore[arg-type]
        operate(entry=entry.pk)
    assert states()["cancelled"] == 2
    second = Stopped(job.id, 99, checkpoint=json.loads(json.dumps(first.checkpoint)))
    with entered(second):  # type: ignore[arg-type]
        assert operate(entry=entry.pk) == {"looked_at": 6, "changed": 4}
    entry.refresh_from_db()
    assert (entry.count, entry.after["ended"], states()["cancelled"]) == (6, "done", 6)
    assert [done for done, _, _ in second.said] == [4, 6]


def test_an_order_is_for_what_can_be_done_to_many_at_a_sane_pace() -> None:
    for name, said in (("edit", {}), ("retry", {"rate": 0.0}), ("retry", {"rate": float("nan")})):
        with pytest.raises(TaskyardError):
            order.order(SYSTEM, name, JobFilter(), **said)
    with pytest.raises(NotFound):
        order.order(SYSTEM.within("acme"), "retry", JobFilter(tenant="globex"))
    assert carried_out("retry", JobFilter(states=("succeeded",))).seen == 0


def test_a_queue_is_cleared_of_what_waits_and_nothing_else() -> None:
    for state in ("pending", "retrying", "queued", "running", "waiting", "failed", "succeeded"):
        ended = NOW if state in ("failed", "succeeded") else None
        put(NOW, state=state, queue="low", finished_at=ended)
        put(NOW, state=state, queue="high", finished_at=ended)
    assert queues.clear(SYSTEM, "low", reason="a bad deploy") == 3
    left = sorted(Job.objects.filter(queue="low").exclude(state="cancelled").values_list("state", flat=True))
    assert left == ["failed", "running", "succeeded", "waiting"]
    assert not Job.objects.filter(queue="high", state="cancelled").exists()
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.verb, entry.target, entry.count) == ("queue", "clear", "low", 3)


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_the_audit_says_what_was_changed_of_a_schedule_and_not_its_arguments() -> None:
    said = {"name": "report", "task": tasks.nothing, "recurrence": Every(60 * SECOND)}
    schedules.define(SYSTEM, kwargs={"n": 111_222}, **said)
    schedules.define(SYSTEM, kwargs={"n": 333_444}, queue="low", **said)
    last = audit.list_(SYSTEM)[0]
    assert (last.before, last.after) == ({"queue": ""}, {"queue": "low"})
    assert last.said == {"changed": ["queue", "kwargs"], "version": 2}
    told = json.dumps([vars(entry) for entry in audit.list_(SYSTEM)], default=str)
    assert "111222" not in told and "333444" not in told


def test_one_for_every_tenant_is_not_for_people_of_one_nor_of_none() -> None:
    row = schedules.define(SYSTEM, name="all", task=tasks.nothing, recurrence=Every(60 * SECOND), tenants="each")
    for tenant in ("acme", ""):
        actor = SYSTEM.within(tenant)
        assert list(schedules.list_(actor)) == []
        for act in (schedules.run, schedules.disable, schedules.remove):
            with pytest.raises(NotFound):
                act(actor, row)
    with pytest.raises(NotFound):
        schedules.define(SYSTEM.within(""), name="all", task=tasks.nothing, recurrence=Every(60 * SECOND))
    assert Schedule.objects.get().tenants == "each"
