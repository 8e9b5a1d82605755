"""Failures: recorded with the end of a job and gone with it, grouped, counted, mended."""

import datetime as dt
import json
import threading
import uuid
from contextlib import closing
from typing import Any

import pytest
from celery import chain, chord
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from taskyard.errors import NoRelease, NotAllowed, NotFound, TaskyardError
from taskyard.execution import steering
from taskyard.execution.outcome import Cancelled, Failed, RetryAt, Succeeded, Trouble
from taskyard.execution.pruner import Pruner
from taskyard.execution.settle import settle
from taskyard.failures import groups
from taskyard.failures.models import Failure, FailureGroup
from taskyard.failures.queries import GroupFilter, GroupOverview, GroupPlace, find_group, list_groups
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.pages.find import find_page
from taskyard.jobs.queries import JobFilter, TenantOverview, list_jobs
from taskyard.models import AuditEntry, Schedule
from taskyard.operations import Actor, failures, tenants
from taskyard.operations.bulk import order, run
from taskyard.operations.bulk.pacing import paced
from taskyard.schedules import Cron
from taskyard.tasks.unique import unique_lock
from tests.app import plain, spills, tasks
from tests.integration.shelf import put, start, statements

pytestmark = pytest.mark.django_db

NOW = dt.datetime.now(dt.UTC).replace(minute=30, second=0, microsecond=0)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
NO = Trouble("ValueError", "order 17 is gone", frames=("shop.tasks:pay",))


def fail(at: dt.datetime = NOW, trouble: Trouble = NO, **values: Any) -> Job:
    """A job that fails for good."""
    job = put(at, state="queued", **values)
    assert settle(start(job, at), Failed(trouble), at)
    return job


def the_group(tenant: str | None = None, now: dt.datetime = NOW) -> GroupOverview:
    [group] = list_groups(GroupFilter(tenant=tenant, empty=True), now)
    return group


def standing() -> set[uuid.UUID]:
    return set(Failure.objects.values_list("job_id", flat=True))


def failed() -> set[uuid.UUID]:
    return set(Job.objects.failed().values_list("id", flat=True))


# -- recording ---------------------------------------------------------------------------------------------------------


def test_only_a_job_that_fails_for_good_stands_failed() -> None:
    for outcome in (Succeeded(), Cancelled("discarded"), RetryAt(NOW + HOUR, NO)):
        settle(start(put(NOW, state="queued"), NOW), outcome, NOW)
    assert standing() == set()

    job = fail(tenant="acme")

    row = Failure.objects.get()
    assert (row.job_id, row.tenant, row.failed_at) == (job.id, "acme", NOW)
    group = row.group
    assert (group.task, group.error_type, group.message) == ("app.nothing", "ValueError", "order <n> is gone")
    assert (group.frames, group.state, group.first_seen_at) == (["shop.tasks:pay"], "open", NOW)


def test_what_does_not_commit_leaves_no_failure() -> None:
    owned = start(put(NOW, state="queued"), NOW)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        settle(owned, Failed(NO), NOW)
        raise ZeroDivisionError
    assert standing() == set()
    assert not FailureGroup.objects.exists()


def test_an_end_that_is_refused_records_nothing() -> None:
    owned = start(put(NOW, state="queued"), NOW)
    assert settle(owned, Succeeded(), NOW)
    assert not settle(owned, Failed(NO), NOW)
    assert standing() == set()


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_every_way_to_fail_is_recorded() -> None:
    tasks.boom.delay("no")
    plain.rejects.delay(requeue=False, mark="/nowhere/at/all")
    # What comes after a step that failed never runs; nor does the body of a chord.
    chain(tasks.boom.si("no"), tasks.add.s(1), tasks.add.s(2)).delay()
    chord([tasks.add.s(1, 1), tasks.boom.si("no")], tasks.total.s()).delay()

    assert len(failed()) == 7
    assert standing() == failed()
    reasons = set(FailureGroup.objects.values_list("task", "reason"))
    assert reasons >= {("tests.app.tasks.boom", ""), ("tests.app.tasks.add", "upstream")}


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_the_frames_of_a_group_are_those_of_the_task_not_of_what_runs_it() -> None:
    tasks.boom.delay("no")

    assert FailureGroup.objects.get().frames == ["tests.app.tasks:boom"]


def test_jobs_that_go_on_stand_failed_no_more() -> None:
    retried, discarded, pruned, left = (fail() for _ in range(4))
    Job.objects.filter(id=pruned.id).update(finished_at=NOW - 100 * DAY)

    assert steering.retry([retried.id], NOW) == 1
    assert steering.discard([discarded.id], NOW, message="password=hunter2 was tried") == 1
    assert Pruner().prune("failed", NOW - 90 * DAY) == 1

    assert standing() == failed() == {left.id}
    error = Job.objects.get(id=discarded.id).error
    assert (error["reason"], error["message"]) == ("discarded", "password=[redacted] was tried")


def test_a_job_whose_key_is_held_stays_among_the_failures() -> None:
    key = {"unique_key": "a", "task": "app.once"}
    job = fail(**key)
    holder = put(NOW, **key, unique_lock=unique_lock("app.once", "", "a"))

    assert steering.retry([job.id], NOW) == 0
    assert standing() == {job.id}
    steering.cancel([holder.id], NOW)
    assert steering.retry([job.id], NOW) == 1
    assert standing() == set()


def test_a_known_group_costs_one_query_and_one_insert() -> None:
    fail()
    owned = start(put(NOW, state="queued"), NOW)
    with statements() as seen:
        settle(owned, Failed(NO), NOW)

    about = [sql for sql, _ in seen if "taskyard_failure" in sql]
    assert [sql.split()[0] for sql in about] == ["SELECT", "INSERT"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time there, whatever is written")
def test_jobs_of_one_group_that_fail_together_do_not_wait_for_each_other() -> None:
    fail()
    owned = start(put(NOW, state="queued"), NOW)
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                fail()
                is_held.set()
                may_go.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(30)
        with closing(connection), connection.cursor() as cursor:
            variable = {"postgresql": "lock_timeout = '500ms'", "mysql": "innodb_lock_wait_timeout = 1"}
            cursor.execute(f"SET {variable[connection.vendor]}")
            assert settle(owned, Failed(NO), NOW)
    finally:
        may_go.set()
        thread.join(30)
    assert standing() == failed()
    assert len(standing()) == 3


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_what_is_stored_about_a_failure_has_no_secrets() -> None:
    secret = "Hunter2-secret"
    trouble = Trouble("ValueError", f"refused: {secret}", traceback=f"  File x\n    login('{secret}')\nValueError: no")
    job = fail(trouble=trouble, task="app.pay", kwargs={"card": {"pin": secret}})
    settle(start(put(NOW, state="queued", kwargs={"pin": secret}), NOW), RetryAt(NOW, trouble), NOW)

    stored = [*Attempt.objects.values(), *FailureGroup.objects.values(), *Job.objects.values("error")]
    assert secret not in repr(stored)
    assert Job.objects.get(id=job.id).error["message"] == "refused: [redacted]"
    assert Job.objects.get(id=job.id).kwargs == {"card": {"pin": secret}}


@override_settings(CELERY_TASK_ALWAYS_EAGER=True, TASKYARD={"SENSITIVE": ["Answer"]})
def test_names_of_the_project_and_of_the_task_are_sensitive_also_by_position() -> None:
    spills.blurts.delay("Word-of-Mouth", answer="Forty-Two", note="harmless")

    stored = [*Attempt.objects.values(), *FailureGroup.objects.values(), *Job.objects.values("error")]
    assert "Word-of-Mouth" not in repr(stored)
    assert "Forty-Two" not in repr(stored)
    assert "harmless" in repr(stored)


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_what_never_ran_does_not_say_the_secrets_of_what_failed_before_it() -> None:
    chain(spills.blurts.si("Word-of-Mouth"), tasks.add.si(1, 2)).delay()
    chord([spills.blurts.si("Word-of-Mouth"), tasks.add.si(1, 1)], tasks.total.s()).delay()

    assert Job.objects.failed().count() == 4
    stored = [*Attempt.objects.values(), *FailureGroup.objects.values(), *Job.objects.values("error")]
    assert "Word-of-Mouth" not in repr(stored)


def test_commands_show_arguments_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    arguments: dict[str, Any] = {"args": ["Hunter2-secret"], "kwargs": {"password": "Hunter3-secret", "n": 5}}
    kept = {"result": {"echo": "Hunter3-secret"}, "checkpoint": {"token": "Hunter4-secret"}}
    job = put(NOW, task="app.blurts", unique_key="Hunter2-secret", **arguments, **kept)
    Schedule.objects.define(
        name="nightly", task="app.blurts", kwargs={"word": "Hunter5-secret"}, recurrence=Cron("0 3 * * *")
    )
    for words in (["jobs", "show", str(job.id)], ["schedules", "show", "nightly"], ["schedules", "list"]):
        call_command("taskyard", *words)
        call_command("taskyard", *words, "--json")

    said = capsys.readouterr()
    assert "-secret" not in said.out + said.err
    assert '"n": 5' in said.out


# -- groups ------------------------------------------------------------------------------------------------------------


def test_a_group_is_counted_by_job_tenant_and_hour() -> None:
    for hours, tenant in ((0, "acme"), (0, "acme"), (1, "bolt"), (23, ""), (40, "acme")):
        fail(NOW - hours * HOUR, tenant=tenant)
    last = fail(NOW + MINUTE, tenant="bolt")
    fail(trouble=Trouble("KeyError"))

    group = list_groups(GroupFilter(), NOW + MINUTE)[0]
    assert (group.count, group.tenants, group.sample_job) == (6, 2, last.id)
    assert (group.first_seen_at, group.last_seen_at) == (NOW, NOW + MINUTE)
    assert group.trend == (1, *[0] * 21, 1, 3)


def test_to_a_tenant_only_its_own_failures_are_there() -> None:
    own = fail(NOW - HOUR, tenant="acme")
    fail(NOW - 2 * HOUR, tenant="bolt")
    fail(trouble=Trouble("KeyError"), tenant="bolt")
    assert groups.note(the_group_of(own).fingerprint, "bolt called about this")

    group = the_group("acme")
    assert (group.count, group.tenants, group.sample_job, group.note) == (1, 1, own.id, "")
    assert (group.first_seen_at, sum(group.trend)) == (NOW - HOUR, 1)
    assert find_group(group.fingerprint, NOW, tenant="other") is None
    wanted = JobFilter(group=group.fingerprint, tenant="acme")
    assert [job.id for job in list_jobs(wanted, limit=9)] == [own.id]
    assert [job.id for job in find_page(wanted, limit=9).rows] == [own.id]


def the_group_of(job: Job) -> FailureGroup:
    return Failure.objects.get(job_id=job.id).group


def test_tenants_are_listed_with_what_waits_runs_and_stands_failed() -> None:
    fail()
    mended = [fail(tenant="acme"), fail(tenant="acme")][1]
    steering.retry([mended.id], NOW)
    start(put(NOW, state="queued", tenant="acme"), NOW)
    put(NOW, due=False, tenant="globex")
    put(NOW, state="queued", tenant="globex")
    fail(tenant="initech")

    acme = TenantOverview("acme", waiting=1, running=1, failed=1)
    everyone = [acme, TenantOverview("globex", waiting=2), TenantOverview("initech", failed=1)]
    assert tenants.list_(SYSTEM) == everyone
    assert tenants.list_(SYSTEM.within("acme")) == [acme]


def test_pages_of_groups_follow_each_other() -> None:
    for n in range(7):
        fail(NOW - n * MINUTE, trouble=Trouble("ValueError", f"{chr(97 + n)}"))
        fail(NOW, trouble=Trouble("KeyError", f"{chr(97 + n)}"))

    found, page = [], list_groups(GroupFilter(), NOW, limit=4)
    while page:
        found += [group.fingerprint for group in page]
        page = list_groups(GroupFilter(), NOW, limit=4, after=GroupPlace.of(page[-1]))
    assert len(found) == len(set(found)) == 14
    assert found == [group.fingerprint for group in list_groups(GroupFilter(), NOW, limit=99)]


def test_groups_are_found_by_task_and_by_state() -> None:
    for task in ("shop.pay", "shop.pack_50%", "shopping.cart"):
        fail(task=task)

    def found(**wanted: str) -> list[str]:
        return sorted(group.task for group in list_groups(GroupFilter(**wanted), NOW))  # type: ignore[arg-type]

    assert found(task="shop.pay") == ["shop.pay"]
    assert found(task="shop.*") == ["shop.pack_50%", "shop.pay"]
    assert found(task="shop.pack_50%*") == ["shop.pack_50%"]
    assert found(task="shop_*") == []
    groups.resolve(FailureGroup.objects.get(task="shop.pay").pk)
    groups.snooze(FailureGroup.objects.get(task="shopping.cart").pk, until=NOW + HOUR, now=NOW)
    assert found(state="open") == ["shop.pack_50%"]
    assert found(state="resolved") == ["shop.pay"]
    assert found(state="snoozed") == ["shopping.cart"]
    assert len(found()) == 3


def test_what_was_resolved_and_fails_again_is_back() -> None:
    fail()
    name = the_group().fingerprint
    assert groups.resolve(name)
    assert the_group().state == "resolved"

    fail(NOW + MINUTE)

    group = the_group()
    assert (group.state, group.reopened_at) == ("open", NOW + MINUTE)
    assert groups.resolve(name)
    assert the_group().reopened_at is None
    assert groups.reopen(name)
    assert the_group().state == "open"
    assert not groups.resolve("1-nobody")


def test_a_snooze_holds_until_its_time_and_is_open_then() -> None:
    fail()
    name = the_group().fingerprint
    with pytest.raises(TaskyardError, match="to come"):
        groups.snooze(name, until=NOW, now=NOW)
    assert groups.snooze(name, until=NOW + HOUR, now=NOW)

    fail(NOW + MINUTE)
    assert (the_group().state, the_group().reopened_at) == ("snoozed", None)
    assert [g.state for g in list_groups(GroupFilter(state="open"), NOW + HOUR)] == ["open"]
    fail(NOW + 2 * HOUR)
    assert (the_group(now=NOW + 2 * HOUR).state, the_group().reopened_at) == ("open", NOW + 2 * HOUR)


def test_a_snooze_until_the_next_release_ends_with_it() -> None:
    fail()
    name = the_group().fingerprint
    with pytest.raises(NoRelease):
        groups.snooze(name, until=None, now=NOW)
    with override_settings(TASKYARD={"RELEASE": "v1"}):
        assert groups.snooze(name, until=None, now=NOW)
        fail(NOW + MINUTE)
        assert (the_group().state, the_group().snoozed_release) == ("snoozed", "v1")
        assert list_groups(GroupFilter(state="open"), NOW) == []
    with override_settings(TASKYARD={"RELEASE": "v2"}):
        assert [g.state for g in list_groups(GroupFilter(state="open"), NOW)] == ["open"]
        fail(NOW + HOUR)
        assert the_group().reopened_at == NOW + HOUR


def test_groups_go_when_nothing_of_them_failed_for_as_long_as_failures_are_kept() -> None:
    gone, standing_still, young = (
        fail(at, trouble=Trouble("Error", word))
        for at, word in ((NOW - 99 * DAY, "a"), (NOW - 99 * DAY, "b"), (NOW, "c"))
    )
    kept = {the_group_of(standing_still).pk, the_group_of(young).pk}
    steering.discard([gone.id, young.id], NOW)
    Job.objects.filter(id=standing_still.id).update(finished_at=NOW)

    Pruner().run_once(NOW)

    assert set(FailureGroup.objects.values_list("pk", flat=True)) == kept
    # One that fails again is marked as seen, at most once a day.
    fail(NOW + DAY / 2, trouble=Trouble("Error", "c"))
    fail(NOW + 2 * DAY, trouble=Trouble("Error", "b"))
    seen = {group.message: group.seen_at for group in FailureGroup.objects.all()}
    assert seen == {"b": NOW + 2 * DAY, "c": NOW}


# -- mending -----------------------------------------------------------------------------------------------------------


SYSTEM = Actor.system("root")


def a_group(count: int, **values: Any) -> str:
    """So many jobs that failed, two at each instant of the last minutes; the fingerprint of their group."""
    now = timezone.now()
    name = the_group_of(fail(now - HOUR, **values)).pk
    said = {"task": "app.nothing", "queue": "celery", "state": "failed", "attempt": 1, "error": {"type": "ValueError"}}
    jobs = [
        Job(id=uuid.uuid4(), created_at=now - HOUR, available_at=now - HOUR, finished_at=now - HOUR - n // 2 * MINUTE,
            **said, **values)
        for n in range(1, count)
    ]  # fmt: skip
    Job.objects.bulk_create(jobs)
    rows = [Failure(job=job, group_id=name, tenant=job.tenant, failed_at=job.finished_at) for job in jobs]
    Failure.objects.bulk_create(rows)
    return str(name)


def test_a_group_is_brought_back_once_and_what_fails_again_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BATCH", 10)
    name = a_group(25)
    jobs, other = standing(), fail(trouble=Trouble("KeyError"))

    with order.here(SYSTEM, failures.mending(SYSTEM, "retry", name, reason="mended")) as one:
        for _ in one.steps():
            for job in Job.objects.filter(state="pending"):
                Job.objects.filter(id=job.id).update(state="queued")
                settle(start(job, timezone.now()), Failed(NO), timezone.now())
            assert one.seen <= 25

    assert (one.seen, one.changed) == (25, 25)
    assert standing() == {*jobs, other.id}
    assert set(Job.objects.filter(id__in=jobs).values_list("max_attempts", flat=True)) == {2}
    entry = AuditEntry.objects.get()
    assert (entry.kind, entry.verb, entry.target, entry.count) == ("failure", "retry", name, 25)
    assert (entry.after["ended"], entry.reason) == ("done", "mended")


def test_a_tenant_brings_back_its_own_and_says_nothing_of_the_group() -> None:
    name = a_group(3, tenant="acme")
    theirs = fail(timezone.now() - HOUR, tenant="bolt")
    acme = SYSTEM.within("acme")

    assert failures.retry(acme, name) == 3
    assert standing() == {theirs.id}
    for act in (failures.retry, failures.discard, failures.show):
        with pytest.raises(NotFound, match=f"no group of failures {name}"):
            act(acme, name)
    for deny in (failures.resolve, failures.reopen):
        with pytest.raises(NotAllowed):
            deny(acme, name)
    assert failures.discard(SYSTEM, name, reason="moot") == 1
    assert Job.objects.get(id=theirs.id).error["message"] == "moot"


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_rate_is_held_and_an_abort_leaves_the_rest(is_stopped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name, now = a_group(400), 100.0

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        if is_stopped and now > 101.1:
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "paced", lambda *given: paced(*given, monotonic=lambda: now, wait=wait))
    try:
        failures.retry(SYSTEM, name, rate=200)
    except KeyboardInterrupt:
        assert is_stopped

    entry = AuditEntry.objects.get()
    if is_stopped:
        assert (entry.count, entry.after["ended"], len(standing())) == (240, "aborted", 160)
    else:
        assert (entry.count, entry.after["ended"], len(standing())) == (400, "done", 0)
        assert now - 100 == pytest.approx(2.0, rel=0.05)
    assert entry.said["jobs"] == {"group": name, "states": ["failed"]}


def test_what_is_said_of_a_group_stands_in_the_audit_and_its_note_does_not() -> None:
    name = a_group(1)
    until = timezone.now() + HOUR
    failures.snooze(SYSTEM, name, until=until, reason="a holiday")
    failures.note(SYSTEM, name, "hunter2 was the word")
    failures.resolve(SYSTEM, name)

    resolve, note, snooze = AuditEntry.objects.order_by("-id")
    assert (snooze.before["state"], snooze.after["state"], snooze.reason) == ("open", "snoozed", "a holiday")
    assert snooze.after["snoozed_until"] == until.isoformat()
    assert (note.before["has_note"], note.after["has_note"]) == (False, True)
    assert (resolve.verb, resolve.after["state"]) == ("resolve", "resolved")
    assert "hunter2" not in repr([vars(entry) for entry in AuditEntry.objects.all()])
    with pytest.raises(NotFound):
        failures.note(SYSTEM, "1-nobody", "x")
    with pytest.raises(NoRelease):
        failures.snooze(SYSTEM, name, until=None)
    assert AuditEntry.objects.count() == 3


# -- commands ----------------------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    try:
        call_command("taskyard", "failures", *words)
        assert code == 0
    except (CommandError, SystemExit) as error:
        assert getattr(error, "returncode", getattr(error, "code", 1)) == code, error
    out, err = capsys.readouterr()
    return str(out + err)


def test_failures_are_mended_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    now = timezone.now()
    jobs = [fail(now - n * MINUTE, tenant="acme") for n in range(3)]
    name = the_group().fingerprint

    table = said(capsys, "list")
    assert name in table
    assert "order <n> is gone" in table
    page = said(capsys, "show", name)
    assert str(jobs[0].id) in page
    assert "shop.tasks:pay" in page
    assert json.loads(said(capsys, "show", name, "--json"))["count"] == 3
    assert "Noted" in said(capsys, "note", name, "ask Ann")
    assert "ask Ann" in said(capsys, "show", name)
    assert "snoozed until" in said(capsys, "snooze", name, "--for", "2h")
    assert "No failure" in said(capsys, "list", code=1)
    assert name in said(capsys, "list", "--state", "snoozed")
    assert "is open" in said(capsys, "reopen", name)
    assert "is resolved" in said(capsys, "resolve", name)
    assert "RELEASE" in said(capsys, "snooze", name, "--until-release", code=1)
    assert "3 jobs" in said(capsys, "retry", name, "--dry-run")
    assert "no group" in said(capsys, "retry", name, "--tenant", "bolt", code=1)
    assert "3 jobs brought back" in said(capsys, "retry", name, "--rate", "1000")
    assert "No failure" in said(capsys, "list", "--state", "resolved", code=1)
    fail(now)
    assert json.loads(said(capsys, "discard", name, "--reason", "moot", "--json")) == {
        "verb": "discard", "matched": 1, "changed": 1,
    }  # fmt: skip
    assert "is open: back since" in said(capsys, "show", name).replace("state        ", "is ")
    assert "no group" in said(capsys, "resolve", "1-nobody", code=1)
