"""Why a saga does not go on now, in plain words."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping

from taskyard.jobs.detail import HowHeld, JobDetail, find_job
from taskyard.sagas.models import Saga, SagaStep
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import FINAL, IN_HAND, IN_LINE, SagaState, StepKind, StepState
from taskyard.sagas.writing.store import plan_of

#: Jobs of one saga that are asked why they wait, and sagas within each other.
_MOST_JOBS, _DEEPEST = 3, 5
#: The keeper looks each second: what has been due for so long is nobody's.
KEEPER_TAKES = dt.timedelta(minutes=2)
_MEND = "start `taskyard scheduler` (workers bring a keeper unless TASKYARD['AGENTS'] is False)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Who looks, and when."""

    now: dt.datetime
    #: Asked about queues and tenants whose jobs are waited for.
    held_back: HowHeld
    tenant: str | None
    #: So many sagas are around the one that is asked about.
    depth: int = 0


def why_it_waits(row: Saga, plan: Plan, *, steps: Mapping[str, SagaStep], looking: Looking) -> str:
    """One sentence without its end; empty for a saga that has ended."""
    if row.state in FINAL:
        return ""
    if row.state == SagaState.NEEDS_ATTENTION:
        return f"needs attention: {_why_stuck(row, plan, steps=steps)}"
    asking = _Asking(row, plan, steps=steps, looking=looking)
    wished = f"it is to be {row.wish} once what runs has ended" if row.wish and not row.is_undoing else ""
    return "; ".join(part for part in (*asking.parts(), wished) if part)


def _why_stuck(row: Saga, plan: Plan, *, steps: Mapping[str, SagaStep]) -> str:
    error = row.stuck or {}
    for step in plan.steps:
        found = steps.get(step.name)
        if found is None:
            continue
        kind = _in_brackets(found)
        if found.state == StepState.COMPENSATION_FAILED and row.is_undoing:
            return f"compensation of {step.name!r} gave up after {_attempts(found.compensation_attempt)}{kind}"
        if found.state == StepState.FAILED and not row.is_undoing:
            pivot = f", behind the pivot {plan.pivot.name!r}" if plan.pivot is not None else ""
            return f"step {step.name!r} failed after {_attempts(found.attempt)}{kind}{pivot}"
    return ": ".join(str(error[key]) for key in ("type", "message") if error.get(key)) or "nobody said why"


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number:,} attempts"


def _in_brackets(found: SagaStep) -> str:
    kind = str((found.error or {}).get("type") or "").rpartition(".")[2]
    return f" ({kind})" if kind else ""


class _Asking:
    def __init__(self, row: Saga, plan: Plan, *, steps: Mapping[str, SagaStep], looking: Looking) -> None:
        self.row, self.plan, self.steps = row, plan, steps
        self.looking, self.now = looking, looking.now
        self._jobs_left = _MOST_JOBS

    def parts(self) -> Iterator[str]:
        found = list(self._of_steps())
        if self.row.runner is not None and not self._is_any_in_place():
            found.insert(0, self._of_runner())
        yield from found
        late = self.row.due_at is not None and self.now - self.row.due_at > KEEPER_TAKES
        if late:
            yield f"no keeper has looked at it since {_at(self.row.due_at, self.now)}: {_MEND}"
        elif not found:
            yield f"nobody has it in hand; the keeper looks at it at {_at(self.row.due_at, self.now)}"

    def _is_any_in_place(self) -> bool:
        return any(each.state in IN_HAND and each.job is None for each in self.steps.values())

    def _of_runner(self) -> str:
        assert self.row.runner is not None
        if self.row.token or self.row.is_inline:
            return "a worker has it in hand" if not self.row.is_inline else "it runs inline, in its caller's process"
        return f"it is queued on {self.row.queue!r}: {self._job(self.row.runner)}"

    def _of_steps(self) -> Iterator[str]:
        for step in self.plan.steps:
            found = self.steps.get(step.name)
            if found is None:
                continue
            if found.state in IN_HAND and step.kind is not StepKind.SAGA:
                what = "compensation of " if found.state == StepState.COMPENSATING else "step "
                since = found.compensation_started_at if what != "step " else found.started_at
                yield f"a worker has {what}{step.name!r} in hand since {_at(since, self.now)}"
            elif found.state in IN_LINE and found.job is not None:
                yield self._in_line(step, found)
            elif found.state in (StepState.RETRYING, StepState.COMPENSATION_RETRYING):
                yield self._retrying(step, found)
            elif found.state in (StepState.WAITING, StepState.COMPENSATING):
                yield self._waiting(step, found)

    def _in_line(self, step: StepPlan, found: SagaStep) -> str:
        assert found.job is not None
        what = "compensation of" if found.state == StepState.COMPENSATION_QUEUED else "step"
        detail = self._detail(found.job)
        on = f" on {detail.fields['queue']!r}" if detail is not None else ""
        return f"{what} {step.name!r} is queued{on}: {self._job(found.job, detail)}"

    def _retrying(self, step: StepPlan, found: SagaStep) -> str:
        is_undoing = found.state == StepState.COMPENSATION_RETRYING
        number = 1 + (found.compensation_attempt if is_undoing else found.attempt)
        what = f"compensation of {step.name!r}" if is_undoing else f"{step.name!r}"
        when = f"at {_at(found.due_at, self.now)}"
        if found.due_at is not None and found.due_at <= self.now:
            when = "is due"
        return f"attempt {number:,} of {what} {when}{_in_brackets(found)}"

    def _waiting(self, step: StepPlan, found: SagaStep) -> str:
        if step.kind is StepKind.TIMER:
            return f"waits until {_at(found.due_at, self.now)} ({step.name!r})"
        if step.kind is StepKind.SIGNAL:
            until = f", until {_at(found.due_at, self.now)}" if found.due_at is not None else ""
            return f"waits for signal {step.name!r} since {_at(found.started_at, self.now)}{until}"
        return self._within(step, found)

    def _within(self, step: StepPlan, found: SagaStep) -> str:
        child: Saga | None = Saga.objects.visible_to(None).filter(id=found.child).first()
        if child is None:
            return f"step {step.name!r} is the saga {found.child}, which is gone"
        says = f"step {step.name!r} is the saga {child.id}, which is {child.state}"
        if self.looking.depth >= _DEEPEST:
            return says
        steps = {each.name: each for each in SagaStep.objects.using(self.row._state.db).filter(saga=child.id)}
        looking = dataclasses.replace(self.looking, depth=self.looking.depth + 1)
        why = why_it_waits(child, plan_of(child.plan), steps=steps, looking=looking)
        return f"{says}: {why}" if why else says

    def _detail(self, job_id: uuid.UUID) -> JobDetail | None:
        if not self._jobs_left:
            return None
        self._jobs_left -= 1
        return find_job(job_id, self.now, held_back=self.looking.held_back, tenant=self.looking.tenant)

    def _job(self, job_id: uuid.UUID, detail: JobDetail | None = None) -> str:
        detail = detail or self._detail(job_id)
        if detail is None:
            return f"job {job_id}"
        why = detail.waits_because
        if not why:
            # It ended, or began, at this moment: whoever it is says so, or the keeper finds it.
            why = f"that is {detail.fields['state']}"
        return f"job {job_id}: {why}"


def _at(moment: dt.datetime | None, now: dt.datetime) -> str:
    """A moment; of another day with its date."""
    if moment is None:
        return "some time"
    form = "%H:%M:%S UTC" if moment.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.astimezone(dt.UTC).strftime(form)
