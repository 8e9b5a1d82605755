"""Schedules that stand in code become rows, and follow it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.errors import InvalidSchedule
from taskyard.schedules import Cron, Every, Schedule, register, schedule
from taskyard.schedules.sources import code
from tests.app.tasks import nothing

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
HOURLY = Every(dt.timedelta(hours=1))


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    yield


def declare_anew(*names: str, **said: Any) -> None:
    code._declared.clear()
    for name in names:
        register(name, HOURLY, task=nothing, **said)


def kinds(*, adopt: bool = False) -> list[tuple[str, str]]:
    return [(change.kind, change.name) for change in code.sync(adopt=adopt, now=NOW)]


def test_what_is_declared_becomes_a_row_and_a_second_sync_does_nothing() -> None:
    assert schedule(Cron("0 3 * * *"), name="purge", kwargs={"n": 3})(nothing) is nothing
    assert kinds() == [("add", "purge")]
    row = Schedule.objects.get()
    assert (row.origin, row.task, row.kwargs, row.version) == ("code", "app.nothing", {"n": 3}, 1)
    assert row.next_at == dt.datetime(2026, 5, 5, 3, tzinfo=dt.UTC)
    assert kinds() == []


def test_what_the_code_changed_changes_and_what_it_dropped_goes() -> None:
    declare_anew("one", "two")
    kinds()
    declare_anew("one", kwargs={"n": 1})
    assert kinds() == [("change", "one"), ("remove", "two")]
    assert [(row.name, row.kwargs) for row in Schedule.objects.all()] == [("one", {"n": 1})]


def test_a_site_touches_its_own_rows_alone(settings: Any) -> None:
    declare_anew("ours", "shared")
    settings.TASKYARD = {**settings.TASKYARD, "SITE": "north"}
    assert kinds() == [("add", "ours"), ("add", "shared")]
    settings.TASKYARD = {**settings.TASKYARD, "SITE": "south"}
    declare_anew("theirs", "shared")
    assert kinds() == [("add", "theirs"), ("conflict", "shared")]
    assert dict(Schedule.objects.values_list("name", "origin")) == {
        "ours": "code:north", "shared": "code:north", "theirs": "code:south"
    }  # fmt: skip


def test_an_edit_is_shown_as_drift_and_reverted_or_left_until_the_code_changes() -> None:
    declare_anew("one")
    kinds()
    Schedule.objects.define(
        name="one", tenant="", recurrence=HOURLY, task=nothing, kwargs={"n": 9}, origin="code", by="ada"
    )
    [change] = code.compare()
    assert (change.kind, change.columns) == ("revert", {"kwargs": ({"n": 9}, {})})
    assert kinds(adopt=True) == [("adopt", "one")]
    assert Schedule.objects.get().kwargs == {"n": 9}
    assert kinds() == [("revert", "one")]
    assert Schedule.objects.get().kwargs == {}


def test_whether_it_is_enabled_and_paused_is_not_the_codes_to_say() -> None:
    declare_anew("one")
    kinds()
    Schedule.objects.get().disable()
    declare_anew("one", kwargs={"n": 1})
    assert kinds() == [("change", "one")]
    row = Schedule.objects.get()
    assert (row.enabled, row.next_at) == (False, None)


def test_rows_that_people_made_are_left_alone() -> None:
    Schedule.objects.define(name="theirs", tenant="", recurrence=HOURLY, task=nothing, now=NOW)
    Schedule.objects.define(name="one", tenant="", recurrence=HOURLY, task=nothing, now=NOW)
    declare_anew("one", kwargs={"n": 1})
    assert kinds() == [("conflict", "one")]
    assert Schedule.objects.get(name="one").kwargs == {}
    assert Schedule.objects.filter(name="theirs").exists()


def test_one_name_declared_twice_is_refused_unless_both_say_the_same() -> None:
    declare_anew("one")
    register("one", HOURLY, task=nothing)
    with pytest.raises(InvalidSchedule, match="declared twice"):
        register("one", HOURLY, task=nothing, kwargs={"n": 1})
