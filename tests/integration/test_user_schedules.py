"""What the users of a tenant may schedule themselves: their own, allowed tasks, not too often and not too many."""

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection, connections
from django.test import override_settings

from taskyard.errors import ConfigurationError, InvalidSchedule, NoTenant, UnknownSchedule
from taskyard.schedules import At, Bounds, Cron, Every
from taskyard.schedules.definitions import limits
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.scheduler import decide_due
from taskyard.settings import parse
from tests.app.models import Note
from tests.app.tasks import answer, nothing, once

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
HOURLY = Every(HOUR)


def allowed(**said: Any) -> Any:
    policy = {"tasks": ["app.nothing", "app.answer"], "shortest_interval": HOUR, "most_per_tenant": 2, **said}
    return override_settings(TASKYARD={"USER_SCHEDULES": policy})


@pytest.fixture(autouse=True)
def policy() -> Any:
    with allowed():
        yield


def of(tenant: str) -> Any:
    return Schedule.objects.for_tenant(tenant)


def names(rows: Any) -> list[str]:
    return [row.name for row in rows]


def test_a_tenants_users_have_schedules_of_their_own_and_those_of_others_do_not_exist() -> None:
    row = of("acme").define("report-17", task=answer, kwargs={"value": 17}, recurrence=HOURLY, by="ada", now=NOW)
    of("globex").define("report-17", task=nothing, recurrence=HOURLY)
    Schedule.objects.define(name="billing", tenant="acme", task=once, kwargs={"key": "k"}, recurrence=Every(MINUTE))
    assert (row.tenant, row.origin, row.created_by) == ("acme", "user", "ada")
    assert names(of("acme").all()) == ["report-17"]
    for verb in ("get", "enable", "disable", "remove", "run_now"):
        with pytest.raises(UnknownSchedule, match="'billing'"):
            getattr(of("acme"), verb)("billing")
    with pytest.raises(InvalidSchedule, match="somebody else"):
        of("acme").define("billing", task=nothing, recurrence=HOURLY)
    with pytest.raises(NoTenant):
        of("")
    of("acme").remove("report-17")
    assert [(row.tenant, row.name) for row in Schedule.objects.order_by("tenant")] == [
        ("acme", "billing"), ("globex", "report-17")
    ]  # fmt: skip


def test_an_edit_changes_the_same_row_and_disabling_is_a_flag() -> None:
    mine = of("acme")
    first = mine.define("report-17", task=answer, kwargs={"value": 1}, recurrence=HOURLY, now=NOW)
    second = mine.define("report-17", task=answer, kwargs={"value": 2}, recurrence=Cron("0 8 * * *"), now=NOW)
    assert (second.pk, second.version, Schedule.objects.count()) == (first.pk, 2, 1)
    mine.disable("report-17")
    assert (mine.get("report-17").enabled, mine.get("report-17").next_at) == (False, None)
    mine.enable("report-17")
    assert mine.get("report-17").next_at is not None


def test_they_are_found_by_prefix_and_by_what_they_are_about() -> None:
    note = Note.objects.create(text="rule")
    with allowed(most_per_tenant=9):
        for name in ("report-1-weekly", "report-2", "Report-3", "sync-1"):
            of("acme").define(name, task=nothing, recurrence=HOURLY, subject=note if name == "sync-1" else None)
        of("globex").define("report-1-weekly", task=nothing, recurrence=HOURLY, subject=note)
    assert names(of("acme").starting_with("report-1-")) == ["report-1-weekly"]
    assert names(of("acme").for_subject(note)) == ["sync-1"]
    assert Schedule.objects.starting_with("report-").count() == 3
    assert Schedule.objects.for_subject(note).count() == 2
    with pytest.raises(InvalidSchedule, match="not saved yet"):
        of("acme").define("sync-1", task=nothing, recurrence=HOURLY, subject=Note(text="unsaved"))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"task": once, "kwargs": {"key": "k"}}, "may not schedule 'app.once'"),
        ({"task": "app.nobody"}, "may not schedule 'app.nobody'"),
        ({"task": answer, "kwargs": {"valeu": 1}}, "does not take that"),
        ({"recurrence": Every(59 * MINUTE)}, "due again after 0:59:00; users may have one run in 1:00:00"),
        ({"recurrence": Cron("0,50 * * * *")}, "due again after 0:10:00"),
        ({"tenants": "each"}, "tenants is not for users to say"),
        ({"priority": 100, "queue": "high", "origin": "code", "tenant": "globex"}, "priority is not for users"),
        ({"overlap": "perhaps"}, "overlap must be one of"),
    ],
)
def test_what_users_may_not_have_is_refused_in_a_sentence_also_as_an_edit(said: dict[str, Any], says: str) -> None:
    of("acme").define("mine", task=nothing, recurrence=HOURLY)
    for name in ("mine", "other"):
        with pytest.raises(InvalidSchedule, match=says):
            of("acme").define(name, **{"task": nothing, "recurrence": HOURLY, **said})
    [row] = Schedule.objects.all()
    assert (row.name, row.version) == ("mine", 1)


def test_a_tenant_has_so_many_and_one_more_when_one_was_removed() -> None:
    for name in ("one", "two"):
        of("acme").define(name, task=nothing, recurrence=HOURLY)
    of("acme").disable("one")
    with pytest.raises(InvalidSchedule, match="may have 2 schedules of its users, disabled ones included"):
        of("acme").define("three", task=nothing, recurrence=HOURLY)
    # An edit takes no new place, another tenant has its own, and the project's own count for nobody.
    of("acme").define("two", task=nothing, recurrence=Every(2 * HOUR))
    of("globex").define("one", task=nothing, recurrence=HOURLY)
    Schedule.objects.define(name="billing", tenant="acme", task=nothing, recurrence=HOURLY)
    of("acme").remove("one")
    of("acme").define("three", task=nothing, recurrence=HOURLY)
    assert names(of("acme").all()) == ["three", "two"]


def test_limits_that_have_become_narrower_hold_when_it_is_enabled_again() -> None:
    row = of("acme").define("one", task=nothing, recurrence=HOURLY, enabled=False)
    with allowed(shortest_interval=2 * HOUR):
        for enable in (lambda: of("acme").enable("one"), row.enable):
            with pytest.raises(InvalidSchedule, match="one run in 2:00:00"):
                enable()
    with allowed(tasks=["app.answer"]), pytest.raises(InvalidSchedule, match=r"they may: app\.answer"):
        row.enable()
    assert not of("acme").get("one").enabled
    row.enable()
    assert (row.enabled, of("acme").get("one").enabled) == (True, True)


def test_one_that_an_operator_takes_over_is_no_longer_theirs() -> None:
    of("acme").define("one", task=nothing, recurrence=HOURLY)
    taken = Schedule.objects.define(name="one", tenant="acme", task=nothing, recurrence=Every(MINUTE))
    assert (taken.origin, taken.slot, of("acme").all().count()) == ("api", None, 0)


def test_run_now_keeps_to_the_interval_too() -> None:
    of("acme").define("one", task=nothing, recurrence=HOURLY, overlap="allow", now=NOW)
    assert of("acme").run_now("one", by="ada", now=NOW).decision == "fired"
    with pytest.raises(InvalidSchedule, match="it ran at 12:00:00 UTC"):
        of("acme").run_now("one", now=NOW + 59 * MINUTE)
    of("acme").run_now("one", now=NOW + HOUR)
    assert set(Occurrence.objects.values_list("tenant", "actor")) == {("acme", "ada"), ("acme", "")}


def test_without_the_setting_users_may_define_nothing() -> None:
    with override_settings(TASKYARD={}), pytest.raises(InvalidSchedule, match="USER_SCHEDULES"):
        of("acme").define("one", task=nothing, recurrence=HOURLY)


def test_what_they_define_runs_as_their_tenant() -> None:
    of("acme").define(
        "one", task=nothing, recurrence=At(NOW + MINUTE), bounds=Bounds(max_runs=1), now=NOW
    )  # fmt: skip
    assert decide_due(NOW + MINUTE) == 1
    assert Occurrence.objects.get().tenant == "acme"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time there")
def test_two_transactions_at_once_do_not_exceed_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    of("acme").define("one", task=nothing, recurrence=HOURLY)
    both, free_slot, outcomes = threading.Barrier(2), limits.free_slot, []
    are_held = threading.local()

    def held(tenant: str, most: int) -> int | None:
        slot = free_slot(tenant, most)
        # The second time of a thread: once they have looked beforehand, both stand right before they take the place.
        are_held.count = getattr(are_held, "count", 0) + 1
        if are_held.count == 2:
            both.wait(timeout=20)
        return slot

    def define(name: str) -> None:
        try:
            of("acme").define(name, task=nothing, recurrence=HOURLY)
            outcomes.append("ok")
        except InvalidSchedule as error:
            outcomes.append("may have 2" if "may have 2" in str(error) else str(error))
        finally:
            connections.close_all()

    monkeypatch.setattr(limits, "free_slot", held)
    threads = [threading.Thread(target=define, args=[name]) for name in ("two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(outcomes) == ["may have 2", "ok"]
    assert sorted(of("acme").all().values_list("slot", flat=True)) == [1, 2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time there")
def test_two_that_define_the_same_name_at_once_make_one_row_of_two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    both, free_slot = threading.Barrier(2), limits.free_slot
    are_held = threading.local()

    def held(tenant: str, most: int) -> int | None:
        are_held.count = getattr(are_held, "count", 0) + 1
        if are_held.count == 2:
            both.wait(timeout=20)
        return free_slot(tenant, most)

    def define(value: int) -> None:
        of("acme").define("one", task=answer, kwargs={"value": value}, recurrence=HOURLY)
        connections.close_all()

    monkeypatch.setattr(limits, "free_slot", held)
    threads = [threading.Thread(target=define, args=[value]) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    [row] = Schedule.objects.all()
    assert (row.version, row.versions.count()) == (2, 2)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (["app.nothing"], "'tasks'"),
        ({"shortest_interval": HOUR}, "'tasks'"),
        ({"tasks": "app.nothing"}, "'tasks' is a list"),
        ({"tasks": [], "most_per_tenant": 0}, "'most_per_tenant' is a whole number"),
        ({"tasks": [], "shortest_interval": 60}, "'shortest_interval' is a timedelta"),
        ({"tasks": [], "most": 3}, "USER_SCHEDULES must be"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(value: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse({"USER_SCHEDULES": value}, {"default": {}})
