"""Schedules that people of a tenant make at run time, with each kind of tenancy."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError, transaction
from django.test import override_settings
from django.utils import timezone

from taskyard.enqueue import INTAKE
from taskyard.errors import InvalidSchedule, UnknownSchedule
from taskyard.models import Job, Occurrence, OutboxMessage, RelayedMessage, Schedule
from taskyard.outbox.relay import relay
from taskyard.schedules import At, Every
from taskyard.schedules.scheduler import decide_due
from taskyard.tenancy import current_tenant, tenant_context
from taskyard.tenancy.databases import database_of
from tests.tenancy import kinds
from tests.tenancy.shop import tasks
from tests.tenancy.shop.models import Visit

pytestmark = pytest.mark.usefixtures("tenants")

HOURLY = Every(dt.timedelta(hours=1))
SECOND = dt.timedelta(seconds=1)
is_apart = settings.KIND == "databases"


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    policy = {"tasks": ["shop.visit"], "shortest_interval": dt.timedelta(minutes=15), "most_per_tenant": 2}
    with override_settings(TASKYARD={**settings.TASKYARD, "USER_SCHEDULES": policy}):
        yield


def own_transaction() -> Any:
    """The transaction in which a tenant's own rows are written."""
    return transaction.atomic(using=database_of() if is_apart else "default")


def define(name: str = "report-17", **said: Any) -> Schedule:
    return Schedule.objects.define(**{"name": name, "task": tasks.visit, "recurrence": HOURLY, **said})


def defined() -> list[tuple[str, str]]:
    return list(Schedule.objects.order_by("tenant", "name").values_list("tenant", "name"))


def test_a_definition_is_there_exactly_if_the_tenants_transaction_commits() -> None:
    with tenant_context("acme"):
        with pytest.raises(ZeroDivisionError), own_transaction():
            visit = Visit.objects.create(written_by="acme")
            define(subject=visit)
            raise ZeroDivisionError
        assert (Schedule.objects.count(), Visit.objects.count()) == (0, 0)
        with own_transaction():
            visit = Visit.objects.create(written_by="acme")
            row = define(subject=visit, kwargs={"text": "seventeen"})
            assert (row.pk is None) == is_apart
            assert Schedule.objects.count() == (0 if is_apart else 1)
            assert row.preview(1)[0].at > timezone.now()
        row = Schedule.objects.for_subject(visit).get()
    assert (row.tenant, row.name, row.kwargs, row.version) == ("acme", "report-17", {"text": "seventeen"}, 1)
    if is_apart:
        assert not OutboxMessage.objects.using(database_of("acme")).exists()


def test_an_edit_a_switch_and_a_removal_are_undone_with_the_transaction() -> None:
    with tenant_context("acme"):
        before = define(kwargs={"text": "first"})
        mine = Schedule.objects.for_tenant("acme")
        own = mine.define("own", task=tasks.visit, recurrence=HOURLY)
        with pytest.raises(ZeroDivisionError), own_transaction():
            define(kwargs={"text": "second"})
            before.disable()
            before.pause(reason="moving house")
            Schedule.objects.remove("report-17")
            mine.remove("own")
            raise ZeroDivisionError
        row = Schedule.objects.get(name="report-17")
        assert (row.kwargs, row.enabled, row.paused_at, row.version) == ({"text": "first"}, True, None, 1)
        with own_transaction():
            define(kwargs={"text": "second"})
            before.disable()
            before.pause(reason="moving house")
            mine.disable("own")
        row.refresh_from_db()
        assert (row.pk, row.kwargs, row.version) == (before.pk, {"text": "second"}, 2)
        assert (row.enabled, row.pause_reason, mine.get("own").enabled) == (False, "moving house", False)
        row.enable()
        row.resume()
        assert (row.enabled, row.paused_at, row.next_at is None) == (True, None, False)
        Schedule.objects.remove("report-17")
        assert [(found.pk, found.name) for found in Schedule.objects.all()] == [(own.pk, "own")]


def test_names_are_each_tenants_own_and_found_by_their_beginning() -> None:
    for tenant in ("acme", "globex"):
        with tenant_context(tenant):
            define("report-17")
            define("sync-1")
    assert defined() == [(name, each) for name in ("acme", "globex") for each in ("report-17", "sync-1")]
    found = Schedule.objects.visible_to("acme").starting_with("report-")
    assert [(row.tenant, row.name) for row in found] == [("acme", "report-17")]


def test_the_run_enters_the_right_tenant_with_nothing_but_its_name() -> None:
    with tenant_context("globex"):
        define(recurrence=At(timezone.now() + SECOND), kwargs={"text": "by the clock"}, by="ada")
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        assert decide_due(timezone.now() + 2 * SECOND) == 1
    assert current_tenant() == ""
    assert [visit["text"] for visit in kinds.visits("globex")] == ["by the clock"]
    assert kinds.visits("acme") == []
    job, row = Job.objects.get(), Schedule.objects.get()
    assert (job.tenant, job.created_by, job.state, job.args) == ("globex", "ada", "succeeded", [])
    # No credentials: the tenant is a name, and whoever runs the job asks where its database is.
    assert (row.args, row.kwargs, job.kwargs) == ([], {"text": "by the clock"}, {"text": "by the clock"})
    assert Occurrence.objects.get().tenant == "globex"


def test_what_users_define_keeps_to_the_limits_of_their_tenant() -> None:
    with tenant_context("acme"):
        mine = Schedule.objects.for_tenant("acme")
        with own_transaction():
            mine.define("one", task=tasks.visit, recurrence=HOURLY)
        mine.define("two", task=tasks.visit, recurrence=HOURLY)
        with pytest.raises(InvalidSchedule, match="may have 2"):
            mine.define("three", task=tasks.visit, recurrence=HOURLY)
        with pytest.raises(InvalidSchedule, match="may not schedule"):
            mine.define("two", task=tasks.owned, recurrence=HOURLY)
    with tenant_context("globex"), pytest.raises(UnknownSchedule):
        Schedule.objects.for_tenant("globex").get("one")


@pytest.mark.skipif(not is_apart, reason="only these have outboxes")
def test_more_than_the_limit_on_their_way_at_once_become_rows_that_are_disabled_and_say_why() -> None:
    with tenant_context("acme"):
        mine = Schedule.objects.for_tenant("acme")
        with own_transaction():
            for name in ("one", "two", "three"):
                mine.define(name, task=tasks.visit, recurrence=HOURLY)
        left_over = mine.get("three")
        assert (left_over.enabled, left_over.slot, "may have 2" in left_over.error) == (False, None, True)
        with pytest.raises(InvalidSchedule, match="may have 2"):
            left_over.enable()
        mine.remove("one")
        mine.enable("three")
        left_over.refresh_from_db()
        assert (left_over.enabled, left_over.slot, left_over.error) == (True, 1, "")
        # A change of something that was removed meanwhile is forgotten.
        with own_transaction():
            mine.disable("two")
            Schedule.objects.filter(name="two").delete()
    assert defined() == [("acme", "three")]
    assert not OutboxMessage.objects.using(database_of("acme")).exists()


@pytest.mark.skipif(not is_apart, reason="only these have outboxes")
def test_a_message_that_comes_late_counts_from_when_it_was_said_and_is_taken_once() -> None:
    said_at = timezone.now() - dt.timedelta(hours=3)
    alias = database_of("acme")
    with tenant_context("acme"):
        with transaction.atomic(using=alias):
            Schedule.objects.define(
                name="late", task=tasks.visit, recurrence=At(said_at + SECOND), now=said_at
            )  # fmt: skip
            [message] = list(OutboxMessage.objects.using(alias).all())
            assert "password" not in message.payload.lower()
        row = Schedule.objects.get()
        assert (row.next_at, row.created_at) == (said_at + SECOND, said_at)
        # Its deletion was lost: the marker says that it was taken.
        Schedule.objects.all().delete()
        message.save(using=alias, force_insert=True)
        assert relay(alias, INTAKE, timezone.now()) == 1
    assert (Schedule.objects.count(), RelayedMessage.objects.count()) == (0, 1)


@pytest.mark.skipif(not is_apart, reason="only these have outboxes")
def test_a_message_nobody_can_take_stays_and_stops_no_other() -> None:
    alias = database_of("acme")
    with transaction.atomic(using=alias):
        for payload in ('{"notice": "moon", "data": {}}', '{"notice": "schedule", "data": {"verb": "define"}}'):
            OutboxMessage.objects.using(alias).create(payload=payload, created_at=timezone.now())
    with tenant_context("acme"):
        define()
        tasks.visit.enqueue()
    assert defined() == [("acme", "report-17")]
    assert Job.objects.count() == 1
    assert OutboxMessage.objects.using(alias).count() == 2


@pytest.mark.skipif(not is_apart, reason="only these have outboxes")
def test_a_name_is_the_database_of_its_own_where_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with tenant_context("acme"), own_transaction():
        define(database="default")
        assert Schedule.objects.count() == 1
        transaction.set_rollback(True, using=database_of())
    assert Schedule.objects.count() == 1
    with tenant_context("acme"), transaction.atomic(using="default"):
        define("other")
        # What is said within another transaction of the control database waits for its end.
        assert Schedule.objects.count() == 1
        with pytest.raises(DatabaseError), transaction.atomic(using=database_of()):
            define("third")
            Visit.objects.create(id=1, written_by="x")
            Visit.objects.create(id=1, written_by="x")
    assert defined() == [("acme", "other"), ("acme", "report-17")]
