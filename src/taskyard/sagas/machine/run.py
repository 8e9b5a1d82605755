"""A saga and its steps as values."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from taskyard.sagas.states import SagaState, StepState

#: ``{"type": ..., "message": ..., ...}``
Error = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """How far one step is."""

    name: str
    state: StepState = StepState.PENDING
    #: Begun so far; they only grow.
    attempt: int = 0
    compensation_attempt: int = 0
    #: Attempts that raised, of the function or of its rollback: what a retry policy counts.
    failures: int = 0
    #: Workers lost in it, one after another.
    losses: int = 0
    #: Grows when it is compensated and then done again: another effect, another idempotency key.
    round: int = 1
    #: The saga that this one was forked from did it: its effect is that one's to undo.
    is_taken_over: bool = False
    #: Of whoever is in it; nobody else ends it.
    token: str = ""
    #: Of its own, or None.
    job: uuid.UUID | None = None
    #: The saga within.
    child: uuid.UUID | None = None
    #: When it is tried again, or no longer waited for.
    due_at: dt.datetime | None = None
    result: Any = None
    error: Error | None = None
    #: What is compensated, or was, is what it may have done before it failed: it has no result.
    has_failed: bool = False
    #: Why it was skipped, or recalled.
    reason: str = ""
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    compensation_started_at: dt.datetime | None = None
    compensation_finished_at: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """A signal that nobody has used."""

    id: int
    name: str
    payload: Any = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A saga, as it stands between two transitions."""

    state: SagaState = SagaState.RUNNING
    #: Moves by one with each transition.
    revision: int = 0
    #: The job that coordinates it, or is about to; of a run inline, an id that is no job's.
    runner: uuid.UUID | None = None
    #: Of the attempt that has it in hand; empty: it waits for a worker.
    token: str = ""
    is_inline: bool = False
    is_undoing: bool = False
    #: What somebody asked for and is not begun: ``cancelled`` or ``compensated``.
    wish: str = ""
    #: Why it turned round.
    error: Error | None = None
    #: Why it needs attention.
    stuck: Error | None = None
    #: When somebody has to look at it.
    due_at: dt.datetime | None = None
    #: From then on it goes no further forward.
    deadline_at: dt.datetime | None = None
    steps: Mapping[str, StepRun] = dataclasses.field(default_factory=dict)
    letters: tuple[Letter, ...] = ()

    def step(self, name: str) -> StepRun:
        """A step, begun or not."""
        return self.steps.get(name) or StepRun(name=name)
