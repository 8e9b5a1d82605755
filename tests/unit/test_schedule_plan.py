"""What a sync of a target does: pure, from what the code says and what is there."""

from collections.abc import Mapping
from typing import Any

import pytest

from taskyard.errors import ConfigurationError, InvalidSchedule, UnknownTarget
from taskyard.schedules.target import (
    Change,
    Found,
    Item,
    Standing,
    checked_path,
    checked_targets,
    plan,
    slug,
    target_named,
)

OLD, NEW = {"cron": "0 1 * * *"}, {"cron": "0 2 * * *"}


def item(name: str, fields: Mapping[str, Any], key: str = "") -> Item:
    return Item(name, key or name, fields)


def there(name: str, stands: Mapping[str, Any], *, written: Mapping[str, Any]) -> Found:
    return Found({name: Standing(item(name, stands), item(name, written).seal)})


@pytest.mark.parametrize(
    ("stands", "written", "adopt", "kind"),
    [
        (OLD, OLD, False, "change"),
        (OLD, OLD, True, "change"),
        (OLD, NEW, False, "revert"),
        (OLD, NEW, True, "adopt"),
        ({"cron": "edited"}, OLD, True, "change"),
        (NEW, OLD, False, "change"),
    ],
    ids=["the code changed", "to adopt or not", "edited", "edited, adopted", "both: the code wins", "mark is old"],
)
def test_an_edit_is_told_from_a_change_of_the_code(stands: Any, written: Any, adopt: bool, kind: str) -> None:
    [change] = plan([item("a", NEW)], there("a", stands, written=written), adopt=adopt)
    assert (change.kind, change.key) == (kind, "a")
    assert change.item == item("a", NEW)


def test_fields_that_differ_are_named_with_both_values() -> None:
    [change] = plan([item("a", {**NEW, "zone": "UTC"})], there("a", {**OLD, "zone": "UTC"}, written=OLD))
    assert change.fields == {"cron": ("0 1 * * *", "0 2 * * *")}


def test_what_is_as_wanted_needs_nothing() -> None:
    assert plan([item("a", NEW)], there("a", NEW, written=NEW)) == []


def test_what_is_dropped_goes_and_what_is_somebody_elses_stays() -> None:
    found = Found(there("a", NEW, written=NEW).owned, frozenset({"b", "c"}))
    changes = plan([item("b", NEW)], found)
    assert [(change.kind, change.key) for change in changes] == [("conflict", "b"), ("remove", "a")]


def test_what_can_no_longer_be_said_is_refused_and_goes() -> None:
    refused = Change("refuse", "a", reason="no years")
    assert plan([refused], there("a", NEW, written=NEW)) == [refused, Change("remove", "a", "a")]


def test_two_schedules_of_one_name_there_are_not_both_written() -> None:
    first, second = plan([item("A", NEW, "a"), item("a", NEW)], Found())
    assert (first.kind, second.kind) == ("add", "refuse")
    assert "'A' would have the same name there" in second.reason


@pytest.mark.parametrize("name", ["", "Ümläut", "a b", "a-b-", "9lives", "x" * 200, "-"])
def test_any_name_becomes_one_that_targets_take(name: str) -> None:
    made = slug(name, 40)
    assert made == slug(name, 40) != slug(name + "!", 40)
    assert len(made) <= 40
    assert made[0].isalpha() and made[-1].isalnum() and made.isascii() and made == made.lower()


def test_a_name_that_is_one_already_stays() -> None:
    assert slug("purge-expired", 40) == "purge-expired"


def test_targets_and_paths_of_a_declaration_are_checked() -> None:
    assert checked_targets("x", ["celery", "crontab", "builtin"]) == ("builtin", "crontab")
    assert checked_targets("x", None) is None
    for wrong, says in (["crontap"], "Did you mean 'crontab'"), ("crontab", "must be a list"):
        with pytest.raises(InvalidSchedule, match=says):
            checked_targets("x", wrong)
    assert checked_path("x", "/tasks/purge-expired/") == "/tasks/purge-expired/"
    for path in ("tasks", "/a b", "/a?b=1", "http://x/", 7, "/ü"):
        with pytest.raises(InvalidSchedule, match="http_path must be"):
            checked_path("x", path)


def test_options_come_from_the_settings_and_are_checked(settings: Any) -> None:
    with pytest.raises(UnknownTarget, match="builtin"):
        target_named("cron")
    settings.TASKYARD = {"SCHEDULE_TARGETS": {"celery": {"colour": "red"}}}
    with pytest.raises(ConfigurationError, match=r"SCHEDULE_TARGETS\['builtin'\] has no option 'colour'"):
        target_named("builtin")
    wrong = {"path": 7, "command": "python", "timezone": "Moon"}
    settings.TASKYARD = {"SCHEDULE_TARGETS": {"crontab": wrong}}
    with pytest.raises(ConfigurationError, match=r"(?s)path must be a string; it is 7.*command must be a list"):
        target_named("crontab")
    settings.TASKYARD = {"SCHEDULE_TARGETS": {"crontab": {"path": "x", "timezone": "Moon"}}}
    with pytest.raises(ConfigurationError, match="Time zone 'Moon'"):
        target_named("crontab")
    settings.TASKYARD = {"SCHEDULE_OWNER": "Shop!"}
    with pytest.raises(ConfigurationError, match="SCHEDULE_OWNER must be"):
        target_named("builtin")
    settings.TASKYARD = {}
    assert (target_named("celery").name, target_named("celery").owner) == ("builtin", "tests")
