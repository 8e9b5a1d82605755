"""Judges what became of sagas of the fault matrix, by the service's own books and the rows; knows none of the code.

Its limits: a step counts as done where the service has an effect of its key; two workers in one step at the same time
are not seen here, but in what steers sagas while they run.
"""

import dataclasses
from collections import Counter
from pathlib import Path

#: What happens at the same time is one stage.
STAGES = (("reserve",), ("left", "right"), ("ship",), ("approval",), ("label",), ("book",), ("notify",))
FORWARD = [step for stage in STAGES for step in stage]
COMPENSATED = ("reserve", "left", "right", "ship", "label")

#: Fails in a group: only where that is run one after another is it known what was done before.
INLINE = "right"

#: What fails -> how it has to end.
ENDS = {
    "": "completed",
    "ship?": "completed",
    "label": "compensated",
    INLINE: "compensated",
    "notify": "needs_attention",
    "label -ship": "needs_attention",
}


@dataclasses.dataclass(frozen=True)
class Story:
    """One saga, as the service and the rows tell it."""

    fails: str
    state: str
    revision: int
    #: name -> state
    steps: dict[str, str]
    #: Revisions of its lines of history, in the order of their rows.
    lines: list[int]
    #: Keys and what they stand for, in the order in which they took effect.
    effects: list[tuple[str, str]]
    calls: list[tuple[str, str]]
    #: Processes that were killed while they served it.
    kills: int


def books(folder: Path, saga: object) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Effects and calls of a saga, in their order."""
    found = sorted(file.read_text().split() for file in folder.glob(f"{saga}-*.effect"))
    calls = folder / f"{saga}.calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [(key, what) for _, key, what in found], [(key, what) for key, what in map(str.split, lines)]


def problems(story: Story) -> list[str]:
    """What does not agree with the promises, a sentence each."""
    return [*_of_end(story), *_of_history(story), *_of_effects(story), *_of_order(story), *_of_rows(story),
            *_of_calls(story)]  # fmt: skip


def expected(fails: str) -> list[str]:
    """All effects there have to be."""
    words = [word for word in fails.split() if not word.endswith("?")]
    stop = next((step for step in FORWARD if step in words), None)
    done = [step for step in FORWARD[: FORWARD.index(stop) if stop else None] if step != "approval"]
    if ENDS[fails] == "compensated":
        done += [f"-{step}" for step in done if step in COMPENSATED]
    return done


def _of_end(story: Story) -> list[str]:
    wanted = ENDS[story.fails]
    return [] if story.state == wanted else [f"it is {story.state}, not {wanted}"]


def _of_history(story: Story) -> list[str]:
    found = []
    if story.lines != sorted(story.lines):
        found.append("its history is not in the order of its revisions")
    missing = set(range(1, story.revision + 1)) ^ set(story.lines)
    return [*found, *(f"revision {number} is missing or too much" for number in sorted(missing))]


def _of_effects(story: Story) -> list[str]:
    counts, wanted = Counter(what for _, what in story.effects), Counter(expected(story.fails))
    return [
        *(f"{what} was done {counts[what]} times" for what in counts if counts[what] > 1),
        *(f"{what} was not done" for what in wanted if not counts[what]),
        *(f"{what} should not have been done" for what in counts if not wanted[what]),
    ]


def _stage(what: str) -> int:
    return next(number for number, stage in enumerate(STAGES) if what.removeprefix("-") in stage)


def _of_order(story: Story) -> list[str]:
    done = [what for _, what in story.effects]
    there = [what for what in done if not what.startswith("-")]
    back = [what for what in done if what.startswith("-")]
    found = []
    if done != there + back:
        found.append("something was done after a compensation")
    if list(map(_stage, there)) != sorted(map(_stage, there)):
        found.append(f"steps were done in the order {there}")
    if list(map(_stage, back)) != sorted(map(_stage, back), reverse=True):
        found.append(f"steps were compensated in the order {back}")
    return found


def _of_rows(story: Story) -> list[str]:
    done = {what for _, what in story.effects}
    found = []
    for step in FORWARD:
        state = story.steps.get(step, "pending")
        if state in ("running", "queued", "retrying", "compensating", "compensation_queued", "compensation_retrying"):
            found.append(f"{step} is {state} at the end")
        if step != "approval" and (step in done) != (state in ("succeeded", "compensated", "compensation_failed")):
            found.append(f"{step} is {state}, and its effect says otherwise")
        if (f"-{step}" in done) != (state == "compensated") and step in COMPENSATED:
            found.append(f"{step} is {state}, and the effect of its compensation says otherwise")
    return found


def _of_calls(story: Story) -> list[str]:
    counts = Counter(story.calls)
    # Whoever failed once on purpose is called once more.
    allowed = {what: 1 + story.kills + (f"{what}?" in story.fails.split()) for _, what in counts}
    keys = {what: {key for key, other in counts if other == what} for _, what in counts}
    return [
        *(f"{what} was called {count} times" for (_, what), count in counts.items() if count > allowed[what]),
        *(f"{what} was called with {len(known)} keys" for what, known in keys.items() if len(known) > 1),
    ]
