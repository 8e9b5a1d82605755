"""The turn of whoever has a saga in hand: run what comes next, tell how it went, until nothing is left to do here."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone

from taskyard.errors import JobCancelled, JobFenced
from taskyard.jobs.ids import new_id
from taskyard.jobs.redaction import names_of, secrets_in
from taskyard.runtime.faults import fault_point
from taskyard.sagas.context import Context
from taskyard.sagas.declaring.definition import Definition
from taskyard.sagas.declaring.steps import ChildStep, Declared, TimerStep
from taskyard.sagas.machine.advance import advance
from taskyard.sagas.machine.events import Cancel, Event, JobBegan, Raised, Returned, Taken
from taskyard.sagas.machine.outcome import Call, Outcome, Prepared, Refused, Stale
from taskyard.sagas.machine.run import Run
from taskyard.sagas.models import Saga
from taskyard.sagas.running.trouble import describe
from taskyard.sagas.states import IN_HAND, UNDOING, StepState
from taskyard.sagas.writing import jobs, store
from taskyard.settings import get_settings
from taskyard.tasks.payload import encode_value

#: What has a result that is being taken back, or was.
_HAD = UNDOING | {StepState.COMPENSATED, StepState.COMPENSATION_SKIPPED}


class ResultTooLarge(Exception):
    """What a step returned is over ``TASKYARD["MAX_RESULT_BYTES"]``."""


class UserGone(Exception):
    """The user that a saga acts for does not exist any more."""


class Turn:
    """One attempt of one job at a saga, or an inline run; whatever it tells counts only while it holds the token."""

    def __init__(
        self,
        saga_id: uuid.UUID,
        definition: Definition,
        *,
        runner: uuid.UUID,
        is_inline: bool = False,
        found: tuple[Saga, Run] | None = None,
    ) -> None:
        self.definition, self.runner, self.is_inline = definition, runner, is_inline
        self.token = uuid.uuid4().hex
        #: As it was read a moment ago, if it was: what is older by then is noticed when something is written.
        self.row, self.saga = found or store.read(saga_id)
        self.plan = store.plan_of(self.row.plan)
        #: What the first step that failed here raised.
        self.error: BaseException | None = None
        self._orchestrator = definition.cls()
        self._user: Any = None

    def run(self) -> None:
        """Coordinate: run steps in place and hand out the others, until there is nothing to do but wait."""
        try:
            outcome = self._tell(Taken(self.runner, self.token, is_inline=self.is_inline))
            while outcome.call is not None:
                outcome = self._tell(self._made(outcome.call))
        except Stale:
            # Somebody else has it in hand: this attempt was taken for lost.
            return

    def run_step(self, name: str) -> None:
        """Run one step, or its compensation, as the job that is its own."""
        try:
            self._tell(JobBegan(name, self.runner, self.token))
            found = self.saga.step(name)
            if found.token == self.token and found.state in IN_HAND:
                self._tell(self._made(Call(name, self.token, found.state is StepState.COMPENSATING)))
        except Stale:
            return

    def _tell(self, event: Event) -> Outcome:
        """Write what follows; decide anew as often as somebody else was faster."""
        while True:
            now, said = timezone.now(), dict[str, Prepared]()
            outcome = advance(self.plan, self.saga, event, now, said=said, new_id=new_id)
            while outcome.ask:
                said[outcome.ask] = self._prepared(outcome.ask)
                outcome = advance(self.plan, self.saga, event, now, said=said, new_id=new_id)
            fault_point("saga.decided")
            if store.write(self.row, self.saga, outcome=outcome, now=now):
                self.saga = outcome.run
                fault_point("saga.told")
                return outcome
            self.row, self.saga = store.read(self.row.id)

    def _made(self, call: Call) -> Returned | Raised:
        step, found = self.definition.steps[call.step], self.saga.step(call.step)
        try:
            fault_point("saga.step")
            if call.is_compensation:
                step.roll_back_with(
                    self._orchestrator, self._context(call.step, is_compensation=True), result=found.result
                )
                result = None
            else:
                context = self._context(call.step)
                given = self.definition.arguments(call.step, inputs=self.row.inputs, results=context.results)
                result = step.execute_with(self._orchestrator, context, given=given)
                result = _as_kept(call.step, result, task=jobs.task_of(self.row.name))
        except JobFenced:
            raise Stale from None
        except Exception as error:  # the project's own code
            return self._raised(call, error, step=step)
        fault_point("saga.stepped")
        return Returned(call.step, call.token, result)

    def _raised(self, call: Call, error: Exception, *, step: Declared) -> Raised:
        if isinstance(error, JobCancelled):
            self._ask_to_cancel(error)
        options = step.options
        policy = options.compensation_retry if call.is_compensation else options.retry
        failures = self.saga.step(call.step).failures + 1
        is_answer = isinstance(error, tuple(self.definition.errors)) and not call.is_compensation
        is_hopeless = is_answer or isinstance(error, (JobCancelled, UserGone))
        wait = None
        if not is_hopeless and policy.wants(error) and failures <= policy.max_retries:
            wait = policy.wait(failures, random.random())
        if wait is None and not call.is_compensation:
            self.error = self.error or error
        return Raised(call.step, call.token, {**describe(error, secrets=self._secrets()), "step": call.step}, wait)

    def _secrets(self) -> Collection[str]:
        return secrets_in([self.row.inputs, self._results()], names_of(jobs.task_of(self.row.name)))

    def _ask_to_cancel(self, error: JobCancelled) -> None:
        try:
            store.tell(self.row.id, Cancel(describe(error)), timezone.now())
        except Refused:
            return
        self.row, self.saga = store.read(self.row.id)

    def _prepared(self, name: str) -> Prepared:
        step = self.definition.steps[name]
        try:
            context = self._context(name)
            if step.options.when is not None and not step.options.when(context):
                return Prepared(is_wanted=False)
            if isinstance(step, TimerStep):
                return Prepared(until=step.asked(context))
            if isinstance(step, ChildStep):
                return Prepared(inputs=_inputs_of(step, context))
            return Prepared()
        except Exception as error:  # the project's own code
            self.error = self.error or error
            return Prepared(error={**describe(error, secrets=self._secrets()), "step": name})

    def _results(self) -> dict[str, Any]:
        found = (self.saga.step(step.name) for step in self.plan.steps)
        return {each.name: each.result for each in found if each.state is StepState.SUCCEEDED or each.state in _HAD}

    def _context(self, name: str, *, is_compensation: bool = False) -> Context:
        found, row = self.saga.step(name), self.row
        key = f"{row.id}-{name}-{found.round}"
        kind: type[Context] = self.definition.cls.context_class
        return kind(
            saga_id=row.id, name=row.name, version=row.version, tenant=row.tenant, inputs=row.inputs,
            user=self._acting(may_be_gone=is_compensation), results=self._results(), step=name,
            attempt=found.compensation_attempt if is_compensation else found.attempt,
            idempotency_key=f"{key}-rollback" if is_compensation else key, deadline_at=row.deadline_at,
        )  # fmt: skip

    def _acting(self, *, may_be_gone: bool) -> Any:
        if not self.row.user:
            return None
        if self._user is None:
            found = get_user_model()._default_manager.filter(pk=self.row.user).first()
            # Not in the query: users of a project's own need not have it as a column.
            self._user = found if getattr(found, "is_active", True) else None
        if self._user is None and not may_be_gone:
            raise UserGone(f"user {self.row.user} does not exist any more, or was deactivated")
        return self._user


def _as_kept(step: str, result: Any, *, task: str) -> Any:
    text, limit = encode_value(task, f"the result of step {step!r}", result), get_settings().max_result_bytes
    if len(text) > limit:
        raise ResultTooLarge(
            f"step {step!r} returned {len(text):,} bytes, the limit is {limit:,}: keep the data elsewhere"
        )
    # The next step is given the same whether it runs here or after a crash: no tuples.
    return json.loads(text)


def _inputs_of(step: ChildStep, context: Context) -> Mapping[str, Any]:
    definition: Definition = step.orchestrator.definition
    given = step.inputs(context) if step.inputs is not None else definition.own_inputs(context.inputs)
    definition.refuse_odd_inputs(given)
    jobs.refuse_odd_json(definition, given)
    return given
