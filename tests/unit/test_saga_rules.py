"""What orchestrators promise, sentence by sentence: order, the way back, the pivot, signals, times, sagas within."""

from __future__ import annotations

import pytest

from taskyard.sagas.machine.events import (
    Cancel,
    JobBegan,
    JobGone,
    RetryStep,
    Returned,
    RunnerGone,
    Signalled,
    SkipStep,
)
from taskyard.sagas.machine.outcome import Prepared, Stale, StartSaga, UndoSaga
from taskyard.sagas.machine.run import Letter
from taskyard.sagas.plan import StepPlan
from taskyard.sagas.states import SagaState, StepKind
from tests.unit.saga_tale import BOOM, MINUTE, NOW, SECOND, Tale, child, group, routed, signal, step


def test_steps_run_one_after_another_in_one_worker() -> None:
    tale = Tale(step("a"), step("b")).taken()
    assert (tale.call, tale["b"]) == ("a", "pending")
    assert tale.returned("a").call == "b"
    assert tale.returned("b").state == "completed"


def test_a_routed_step_is_a_job_and_the_coordinator_leaves_and_is_sent_for() -> None:
    tale = Tale(routed("a"), step("b")).taken()
    assert (tale.jobs, tale.call, tale.run.runner) == (["a"], "", None)
    assert tale.begun("a").returned("a").jobs == [""]
    assert tale.taken().call == "b"


def test_the_steps_of_a_group_run_together_and_what_follows_when_all_are_done() -> None:
    tale = Tale(*group(routed("a"), routed("b")), step("c")).taken()
    assert tale.jobs == ["a", "b"]
    assert tale.returned("b").run.runner is None
    assert tale.returned("a").taken().call == "c"


def test_a_condition_that_says_no_skips_its_step() -> None:
    tale = Tale(step("a", is_prepared=True), step("b"), a=Prepared(is_wanted=False)).taken()
    assert (tale["a"], tale.call) == ("skipped", "b")


def test_a_step_that_raised_is_tried_again_when_its_time_has_come() -> None:
    tale = Tale(step("a")).raised("a", wait=MINUTE)
    assert (tale.state, tale["a"], tale.run.due_at) == ("waiting", "retrying", NOW + MINUTE)
    assert tale.later(MINUTE).jobs == [""]
    assert tale.taken().call == "a"


def test_the_worker_that_takes_over_runs_the_step_again_in_which_the_other_was_lost() -> None:
    tale = Tale(step("a")).taken()
    lost = tale.run.token
    assert tale.taken().call == "a"
    assert (tale.run.step("a").attempt, tale.run.step("a").failures) == (2, 0)
    with pytest.raises(Stale):
        tale.tell(Returned("a", lost))


def test_three_workers_lost_in_a_step_one_after_another_fail_it() -> None:
    tale = Tale(step("a")).taken().taken().taken()
    assert tale.taken()["a"] == "failed"


def test_a_job_that_begins_twice_is_the_second_ones() -> None:
    tale = Tale(routed("a")).taken().begun("a")
    lost = tale.run.step("a").token
    tale.begun("a")
    with pytest.raises(Stale):
        tale.tell(Returned("a", lost))
    assert tale.returned("a").state == "completed"


def test_a_job_that_is_gone_has_another_one_follow() -> None:
    tale = Tale(routed("a")).taken()
    job = tale.run.step("a").job
    assert job is not None
    assert tale.tell(JobGone("a", job, BOOM)).jobs == [""]
    assert tale.taken().jobs == ["a"]
    with pytest.raises(Stale):
        tale.tell(JobBegan("a", job, "late"))


def test_a_coordinator_that_is_gone_is_followed_by_another() -> None:
    tale = Tale(step("a")).taken()
    assert tale.run.runner is not None
    assert tale.tell(RunnerGone(tale.run.runner)).jobs == [""]
    assert tale.taken().call == "a"


def test_what_succeeded_is_compensated_in_reverse_order_and_nothing_else() -> None:
    tale = Tale(step("a"), step("b", has_rollback=False), step("c"), step("d")).returned("a", "b", "c").raised("d")
    assert (tale.state, tale.call) == ("compensating", "-c")
    assert tale.returned("c").call == "-a"
    assert tale.returned("a").state == "compensated"
    assert (tale["b"], tale["d"]) == ("succeeded", "failed")


def test_a_group_is_compensated_together_once_what_runs_of_it_has_ended() -> None:
    tale = Tale(*group(routed("a"), routed("b"), routed("c"))).returned("a").begun("b").raised("c")
    assert tale.jobs == []
    assert tale.returned("b").jobs == [""]
    assert sorted(tale.taken().jobs) == ["-a", "-b"]


def test_with_rollback_failed_the_failed_step_is_compensated_as_well() -> None:
    tale = Tale(step("a"), step("b", undoes_failed=True)).returned("a").raised("b")
    assert tale.call == "-b"
    assert tale.returned("b").call == "-a"


def test_what_failed_once_and_is_in_line_again_has_failed_when_the_saga_turns_round() -> None:
    tale = Tale(routed("a", undoes_failed=True)).raised("a", wait=SECOND).later(SECOND).taken()
    assert tale["a"] == "queued"
    assert tale.tell(Cancel()).taken().jobs == ["-a"]


def test_a_job_that_was_gone_before_it_began_is_not_begun_any_more_when_the_saga_turns_round() -> None:
    tale = Tale(routed("a")).taken()
    job = tale.run.step("a").job
    assert job is not None
    assert (tale.tell(JobGone("a", job, BOOM))["a"], tale.tell(Cancel()).state) == ("retrying", "cancelled")


def test_what_is_prepared_in_vain_has_nothing_of_its_group_begun() -> None:
    tale = Tale(*group(routed("a"), child("b"), step("c", is_prepared=True)), c=Prepared(error=BOOM)).taken()
    assert (tale.outcome.orders, tale["a"], tale["b"], tale.state) == ((), "pending", "pending", "compensated")


def test_what_was_never_begun_is_not_compensated() -> None:
    tale = Tale(step("a", has_rollback=False), routed("b", undoes_failed=True)).returned("a")
    assert (tale["b"], tale.tell(Cancel()).state, tale["b"]) == ("queued", "cancelled", "pending")


def test_a_compensation_is_tried_again_by_its_own_policy_and_counts_anew() -> None:
    tale = Tale(step("a", undoes_failed=True)).raised("a", wait=SECOND).later(SECOND).raised("a")
    assert (tale.call, tale.run.step("a").failures) == ("-a", 0)
    assert tale.raised("a", wait=MINUTE)["a"] == "compensation_retrying"
    assert tale.later(MINUTE).taken().call == "-a"


def test_a_compensation_that_gives_up_needs_attention_and_nothing_before_it_is_touched() -> None:
    tale = Tale(step("a"), step("b"), step("c")).returned("a", "b").raised("c").raised("b")
    assert (tale.state, tale["b"], tale["a"], tale.run.due_at) == (
        "needs_attention", "compensation_failed", "succeeded", None,
    )  # fmt: skip
    assert tale.run.stuck == BOOM


def test_behind_the_pivot_a_failure_needs_attention_and_nothing_is_undone() -> None:
    tale = Tale(step("a"), step("b", is_pivot=True), step("c")).returned("a", "b").raised("c")
    assert (tale.state, tale["a"], tale["b"]) == ("needs_attention", "succeeded", "succeeded")
    assert "behind which there is no way back" in tale.refuses(Cancel())
    assert tale.tell(RetryStep("c")).returned("c").state == "completed"


def test_behind_the_pivot_the_others_of_a_group_are_neither_stopped_nor_undone() -> None:
    tale = Tale(step("a", is_pivot=True), *group(routed("b"), routed("c"), child("d"))).returned("a").raised("b")
    assert (tale.state, tale["c"], tale["d"], tale.outcome.orders) == ("running", "queued", "waiting", ())
    tale.returned("c").ended("d", SagaState.COMPLETED)
    assert (tale.state, tale["c"], tale["d"]) == ("needs_attention", "succeeded", "succeeded")


def test_a_pivot_that_fails_is_not_passed() -> None:
    assert Tale(step("a"), step("b", is_pivot=True)).returned("a").raised("b").call == "-a"


def test_a_cancel_that_comes_while_the_pivot_runs_is_too_late_if_that_succeeds() -> None:
    tale = Tale(step("a", is_pivot=True), step("b")).taken().tell(Cancel(BOOM)).returned("a")
    assert (tale.call, tale.run.wish, tale.run.error) == ("b", "", None)


def test_a_pivot_that_was_skipped_before_its_turn_is_passed_when_its_turn_comes() -> None:
    tale = Tale(step("a"), step("b"), step("c", is_pivot=True), step("d")).returned("a")
    assert tale.tell(SkipStep("c", "paid in cash")).raised("b").call == "-a"
    tale = Tale(step("a"), step("c", is_pivot=True), step("d")).taken().tell(SkipStep("c", "paid in cash"))
    assert tale.returned("a").raised("d").state == "needs_attention"


def test_a_signal_is_used_once_whether_it_comes_before_the_wait_or_during_it() -> None:
    tale = Tale(step("a"), signal("yes"), signal("no"), step("b")).taken()
    tale.tell(Signalled(Letter(1, "yes", "payload"))).tell(Signalled(Letter(2, "yes"))).returned("a")
    assert (tale["yes"], tale.run.step("yes").result, tale["no"]) == ("succeeded", "payload", "waiting")
    assert [letter.id for letter in tale.run.letters] == [2]
    assert tale.tell(Signalled(Letter(3, "no"))).jobs == [""]


def test_a_signal_that_does_not_come_in_time_fails_its_step_or_is_done_without() -> None:
    tale = Tale(step("a"), signal("yes", timeout=MINUTE)).returned("a").later(MINUTE)
    assert (tale["yes"], tale.jobs, tale.state) == ("failed", [""], "compensating")
    tale = Tale(signal("yes", timeout=MINUTE, is_optional=True)).taken().later(MINUTE)
    assert (tale.state, tale.run.step("yes").result) == ("completed", None)


def test_a_signal_to_one_that_has_ended_is_refused() -> None:
    assert Tale(step("a")).returned("a").refuses(Signalled(Letter(1, "yes"))) == "it is completed"


def test_a_timer_waits_and_nobody_does_meanwhile() -> None:
    tale = Tale(StepPlan(name="a", kind=StepKind.TIMER, timeout=MINUTE)).taken()
    assert (tale.state, tale.run.runner, tale.run.due_at) == ("waiting", None, NOW + MINUTE)
    assert tale.later(MINUTE).state == "completed"


def test_the_deadline_turns_it_round_and_it_is_not_looked_at_for_that_again() -> None:
    tale = Tale(step("a"), routed("b"), deadline=MINUTE).returned("a").begun("b").later(MINUTE)
    assert (tale.run.wish, tale.run.due_at) == ("compensated", tale.now + MINUTE / 2)
    assert tale.returned("b").taken().jobs == ["-b"]
    assert (tale.run.error or {})["type"] == "DeadlineExceeded"


def test_a_saga_that_is_about_to_turn_round_is_not_looked_at_for_its_deadline() -> None:
    tale = Tale(*group(routed("a"), routed("b")), deadline=MINUTE).taken().begun("b").raised("a").later(MINUTE)
    assert (tale["b"], tale.run.due_at) == ("running", tale.now + MINUTE / 2)


def test_a_saga_within_is_started_and_compensated_with_this_one() -> None:
    tale = Tale(child("a"), step("b")).taken()
    [started] = tale.outcome.orders
    assert isinstance(started, StartSaga)
    tale.ended("a", SagaState.COMPLETED).raised("b")
    assert tale.outcome.orders == (UndoSaga("a", started.child),)
    assert tale.ended("a", SagaState.COMPENSATED).state == "compensated"
