"""What makes two failures the same, what a group's state is, and how a rate is held."""

import datetime as dt
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from taskyard.failures.fingerprint import VERSION, Fault
from taskyard.failures.frames import own_frames
from taskyard.failures.states import Said, State, is_reopened, state_now

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is gone", "order 4,711 is gone"),
        ("took 1.5 s", "took 12e-3 s"),
        ("no row 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no row 00000000-0000-0000-0000-000000000000"),
        ("commit deadbeef01 is unknown", "commit 0a1b2c3d4e is unknown"),
        ("at 0x7f00aa", "at 0x1"),
        ("no user 'bob'", 'no user "it\'s ann"'),
        ("cannot open /tmp/a/b.txt: denied", "cannot open ./c.csv: denied"),
        ("cannot open C:\\a b", "cannot open ~/c b"),
        ("due 2026-05-04T12:00:00Z", "due 2025-01-01 03:04:05.678+02:00"),
        ("due 04.05.2026", "due 1/2/26"),
        ("GET https://a.example/x?y=1 failed", "GET http://b.example failed"),
        ("no mail to ann@example.com", "no mail to bob.b@example.org"),
        ("ids [1, 2, 3] are gone", "ids [4, 5] are gone"),
        ("no answer from 10.0.0.9", "no answer from 10.0.0.12"),
        ("no answer from 172.16.10.5:5432", "no answer from 10.20.30.40:5432"),
        ("a  b\nc", "a b c"),
    ],
)
def test_what_differs_from_job_to_job_does_not_count(one: str, other: str) -> None:
    def print_of(message: str) -> str:
        return Fault("shop.pay", "ValueError", message=message).fingerprint

    assert print_of(one) == print_of(other)
    assert print_of(one) != print_of(f"{one} for ever")


def test_everything_else_counts() -> None:
    fault = {"task": "shop.pay", "error_type": "ValueError", "reason": "", "message": "no", "frames": ("shop:pay",)}
    others = {
        "task": "shop.ship",
        "error_type": "KeyError",
        "reason": "poison",
        "message": "yes",
        "frames": ("shop:b",),
    }
    prints = {Fault(**{**fault, name: other}).fingerprint for name, other in others.items()}  # type: ignore[arg-type]

    assert len(prints | {Fault(**fault).fingerprint}) == 6  # type: ignore[arg-type]


def test_the_fingerprint_is_the_same_for_ever() -> None:
    message, frames = "card 17 of 'bob' was refused", ("shop.tasks:pay", "shop.cards:ask")
    fault = Fault("shop.pay", "shop.Refused", "poison", message, frames)

    assert VERSION == 1
    assert fault.pattern == "card <n> of <text> was refused"
    assert fault.fingerprint == "1-7e6cc3b7be9c25f5"


def test_only_frames_of_the_projects_own_code_count_and_no_lines() -> None:
    def call(work: Callable[[], object]) -> None:
        work()

    def raised(work: Callable[[], object]) -> tuple[str, ...]:
        try:
            call(work)
        except Exception as error:
            return own_frames(error.__traceback__)
        raise AssertionError

    own = f"{__name__}:test_only_frames_of_the_projects_own_code_count_and_no_lines.<locals>."
    assert raised(lambda: json.loads("{")) == (own + "raised", own + "call", own + "<lambda>")
    # Deeper ones: the last three, whatever called them.
    nested = functools.reduce(lambda work, _: functools.partial(call, work), range(3), lambda: 1 / 0)
    assert raised(nested) == (own + "call", own + "call", own + "<lambda>")


def test_a_project_that_is_installed_has_frames_of_its_own(tmp_path: Path) -> None:
    file = str(tmp_path / "site-packages" / "shop" / "tasks.py")
    space: dict[str, object] = {"__name__": "shop.tasks"}
    exec(compile("def pay():\n    raise ValueError", file, "exec"), space)
    foreign: dict[str, object] = {"__name__": "other.code"}
    exec(compile("def call(work):\n    work()", file, "exec"), foreign)

    def of(work: Callable[[], object]) -> tuple[str, ...]:
        try:
            work()
        except ValueError as error:
            assert error.__traceback__ is not None
            return own_frames(error.__traceback__.tb_next)
        raise AssertionError

    assert of(space["pay"]) == ("shop.tasks:pay",)  # type: ignore[arg-type]
    assert of(functools.partial(foreign["call"], space["pay"])) == ("other.code:call",)  # type: ignore[operator, arg-type]


SNOOZED, RESOLVED, OPEN = State.SNOOZED, State.RESOLVED, State.OPEN


@pytest.mark.parametrize(
    ("said", "state", "reopened"),
    [
        (Said(OPEN, None, ""), OPEN, False),
        (Said(RESOLVED, None, ""), RESOLVED, True),
        (Said(SNOOZED, NOW + HOUR, ""), SNOOZED, False),
        (Said(SNOOZED, NOW, ""), OPEN, True),
        (Said(SNOOZED, None, "v2"), SNOOZED, False),
        (Said(SNOOZED, None, "v1"), OPEN, True),
    ],
)
def test_a_snooze_ends_by_itself_and_a_failure_opens_what_was_closed(
    said: Said, state: State, *, reopened: bool
) -> None:
    assert state_now(said, now=NOW, release="v2") == state
    assert is_reopened(said, now=NOW, release="v2") is reopened
