"""A plan is kept as text, and says whether a saga may go on with another."""

from __future__ import annotations

import datetime as dt
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard.sagas import Context
from taskyard.sagas.declaring.steps import TimerStep
from taskyard.sagas.plan import Plan, StepPlan
from taskyard.sagas.states import StepKind
from tests.unit.saga_tale import MINUTE, routed, signal, step

TIMES = st.none() | st.timedeltas(min_value=dt.timedelta(), max_value=dt.timedelta(days=3650))
FLAGS = {
    name: st.booleans()
    for name in ("is_pivot", "has_job", "has_rollback", "undoes_failed", "is_prepared", "is_optional")
}
STEPS = st.builds(
    StepPlan, name=st.text(), kind=st.sampled_from(StepKind), group=st.text(), timeout=TIMES, time_limit=TIMES, **FLAGS
)


@settings(max_examples=50, deadline=None, database=None)
@given(st.builds(Plan, st.text(), st.integers(), st.lists(STEPS).map(tuple)))
def test_a_plan_is_its_text(plan: Plan) -> None:
    again = Plan.from_text(plan.text)
    assert (again, again.text, again.digest) == (plan, plan.text, plan.digest)
    assert again.matches(plan)


@pytest.mark.parametrize(
    "other",
    [
        [step("b")], [step("a"), step("b")], [step("a", group="g")], [step("a", is_pivot=True)], [signal("a")],
        [step("a", has_rollback=False)], [],
    ],
)  # fmt: skip
def test_a_saga_does_not_go_on_with_other_steps(other: list[StepPlan]) -> None:
    assert not Plan("trip", 1, tuple(other)).matches(Plan("trip", 1, (step("a"),)))


def test_a_saga_that_orders_jobs_of_a_step_does_not_go_on_where_that_has_none() -> None:
    assert not Plan("trip", 1, (step("a"),)).matches(Plan("trip", 1, (routed("a"),)))


@pytest.mark.parametrize("said", [None, dt.datetime(2026, 5, 4), "tomorrow"])
def test_a_timer_that_is_given_no_time_fails_instead_of_waiting_for_ever(said: Any) -> None:
    until = TimerStep(lambda _: said)
    with pytest.raises(TypeError, match="waits until an aware datetime"):
        until.asked(cast(Context, None))


def test_a_saga_goes_on_with_the_same_steps_run_elsewhere_or_for_longer() -> None:
    assert Plan("trip", 1, (routed("a", time_limit=MINUTE),)).matches(Plan("trip", 2, (step("a"),)))
