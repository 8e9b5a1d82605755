"""The judge of the fault matrix finds what is planted."""

import dataclasses
from typing import Any

import pytest

from tests.parcels import ENDS, Story, expected, problems


def told(fails: str, **changes: Any) -> Story:
    """A saga as it should be, but for the changes."""
    done = expected(fails)
    there = [what for what in done if not what.startswith("-")]
    back = [f"-{what}" for what in reversed(there) if f"-{what}" in done]
    effects = [(f"key-{what}", what) for what in there + back]
    steps = {what: "compensated" if f"-{what}" in done else "succeeded" for what in there}
    for what in {"label", "right"} & {*fails.split()}:
        steps[what] = "failed"
    if "-ship" in fails:
        steps["ship"] = "compensation_failed"
    lines = [1, 1, 2, 3]
    story = Story(fails, ENDS[fails], 3, steps, lines, effects, [*effects], kills=1)
    return dataclasses.replace(story, **changes)


@pytest.mark.parametrize("fails", ENDS)
def test_nothing_is_found_where_all_is_well(fails: str) -> None:
    assert problems(told(fails)) == []


WELL = told("label")
PLANTS: dict[str, tuple[dict[str, Any], str]] = {
    "another end": ({"state": "completed"}, "it is completed, not compensated"),
    "a run that was forgotten": ({"state": "running"}, "it is running, not compensated"),
    "a lost transition": ({"lines": [1, 3]}, "revision 2 is missing"),
    "a line of a transition that was rolled back": ({"lines": [1, 2, 3, 4]}, "revision 4 is missing or too much"),
    "lines in disorder": ({"lines": [1, 3, 2]}, "not in the order"),
    "an effect twice, with another key": ({"effects": [*WELL.effects, ("other", "-ship")]}, "-ship was done 2 times"),
    "an effect that is missing": ({"effects": WELL.effects[:-1]}, "-reserve was not done"),
    "an effect too much": ({"effects": [*WELL.effects, ("key", "-book")]}, "-book should not have been done"),
    "compensated in the wrong order": (
        {"effects": [*WELL.effects[:4], *reversed(WELL.effects[4:])]},
        "steps were compensated in the order",
    ),
    "done in the wrong order": ({"effects": [*reversed(WELL.effects[:4]), *WELL.effects[4:]]}, "done in the order"),
    "done after a compensation": (
        {"effects": [*WELL.effects[1:5], WELL.effects[0], *WELL.effects[5:]]},
        "after a compensation",
    ),
    "a step that is still in hand": ({"steps": {**WELL.steps, "left": "compensating"}}, "left is compensating"),
    "a row that says done": ({"steps": {**WELL.steps, "book": "succeeded"}}, "book is succeeded, and its effect"),
    "a row that says compensated": (
        {"fails": "", "state": "completed", "steps": {**told("").steps, "left": "compensated"},
         "effects": told("").effects, "calls": []},
        "left is compensated, and the effect of its compensation",
    ),
    "called again without a kill": ({"calls": WELL.calls * 2, "kills": 0}, "reserve was called 2 times"),
    "called with another key": ({"calls": [*WELL.calls, ("new", "left")]}, "left was called with 2 keys"),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_mistake_is_found(plant: str) -> None:
    changes, says = PLANTS[plant]
    found = problems(dataclasses.replace(WELL, **changes))
    assert any(says in problem for problem in found), found
