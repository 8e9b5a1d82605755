"""``@task``: what a declaration may say."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard import RetryPolicy, task
from taskyard.errors import InvalidTask, UnknownTask
from taskyard.tasks import registry
from taskyard.tasks.retry import NO_RETRY
from taskyard.tasks.task import default_name


@pytest.fixture(autouse=True)
def nothing_stays_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    monkeypatch.setattr(registry, "_observers", [])
    yield


def send(order: int, note: str = "") -> str:
    return f"{order}{note}"


def test_a_declared_task_is_known_by_its_name_and_still_a_function() -> None:
    declared = task(name="shop.send")(send)

    assert registry.get("shop.send") is declared
    assert declared(3, note="x") == "3x"
    assert (declared.__name__, str(declared.signature)) == ("send", "(order: int, note: str = '') -> str")
    assert (declared.options.retry, declared.options.unique, declared.options.tracked) == (NO_RETRY, None, True)


def test_a_bound_task_gets_itself_first() -> None:
    @task(name="shop.bound", bind=True)
    def bound(self: Any, order: int) -> Any:
        return self.name, order

    assert bound(7) == ("shop.bound", 7)
    assert list(bound.signature.parameters) == ["order"]


@pytest.mark.parametrize(
    ("module", "name"),
    [("tests.app.tasks", "app.send"), ("elsewhere.tasks", "elsewhere.send"), ("a.b", "b.send"), ("tasks", "main.send"),
     ("__main__", "main.send")],
)  # fmt: skip
def test_the_default_name_is_that_of_the_app_and_the_function(module: str, name: str) -> None:
    def send() -> None: ...

    send.__module__ = module
    assert default_name(send) == name


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "send"}, "must have the form <app_label>.<action>"),
        ({"name": "a.b.c"}, "must have the form"),
        ({"name": "shop.send mail"}, "must have the form"),
        ({"priority": 101}, "priority must be between -100 and 100, not 101"),
        ({"priority": -101}, "priority must be between"),
        ({"unique_until": "never"}, "unique_until must be 'start' or 'end', not 'never'"),
        ({"on_duplicate": "ignore"}, "on_duplicate must be 'return' or 'raise'"),
        ({"time_limit": 60}, "time_limit must be a timedelta, not 60"),
        ({"soft_time_limit": "1m"}, "soft_time_limit must be a timedelta"),
        ({"unique": "ordr"}, "unique names 'ordr', which is not a parameter"),
        ({"unique": ("order", "x")}, "unique names 'x'"),
        ({"unique": ["order"]}, "unique must be"),
        ({"unique": 7}, "unique must be"),
        ({"retry": 3}, "retry must be a RetryPolicy, not 3"),
        ({"retries": 3}, "unknown option 'retries'; known: .*retry"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidTask, match=problem):
        task(**{"name": "shop.send", **options})(send)
    assert registry.find("shop.send") is None


@pytest.mark.parametrize(
    "options",
    [
        {"unique": "order"}, {"unique": ("order", "note")}, {"unique": True}, {"unique": lambda order, note: order},
        {"unique": None}, {"unique": False}, {"retry": None}, {"retry": RetryPolicy()}, {"priority": 100},
        {"time_limit": dt.timedelta(seconds=1)}, {"tracked": False}, {"queue": "slow"},
    ],
)  # fmt: skip
def test_a_declaration_that_can_work_is_taken(options: dict[str, Any]) -> None:
    task(name="shop.send", **options)(send)
    assert registry.get("shop.send").func is send


def test_two_functions_cannot_share_a_name_but_a_reloaded_module_may_declare_again() -> None:
    task(name="shop.send")(send)
    task(name="shop.send")(send)

    def other() -> None: ...

    with pytest.raises(InvalidTask, match="already declared in"):
        task(name="shop.send")(other)


def test_an_unknown_task_is_told_with_the_nearest_known_name() -> None:
    task(name="shop.send")(send)
    with pytest.raises(UnknownTask, match=r"Did you mean 'shop\.send'\?"):
        registry.get("shop.sned")
    with pytest.raises(UnknownTask, match="Is its module imported"):
        registry.get("nothing.like.it.anywhere")


def test_using_adds_to_what_was_said_before_and_leaves_the_task_alone() -> None:
    declared = task(name="shop.send")(send)

    once = declared.using(queue_name="slow", priority=5)
    twice = once.using(priority=0, tags=["a"])

    assert declared.call.queue_name is None
    assert (once.call.queue_name, once.call.priority, once.call.tags) == ("slow", 5, ())
    assert (twice.call.queue_name, twice.call.priority, twice.call.tags) == ("slow", 0, ("a",))
