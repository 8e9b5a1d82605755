"""What each verb of an operator does to a saga, and when it is refused."""

from __future__ import annotations

from taskyard.sagas.machine.events import Cancel, Compensate, Resume, RetryStep, SkipStep, Stopped
from tests.unit.saga_tale import BOOM, MINUTE, Tale, child, routed, signal, step


def test_cancel_waits_for_the_step_in_hand_and_undoes_what_was_done() -> None:
    tale = Tale(step("a"), step("b")).taken().tell(Cancel())
    assert (tale.state, tale["a"]) == ("running", "running")
    assert tale.returned("a").call == "-a"
    assert tale.returned("a").state == "cancelled"


def test_what_has_completed_can_be_compensated_and_not_cancelled() -> None:
    tale = Tale(step("a")).returned("a")
    assert tale.refuses(Cancel()) == "it is completed"
    assert tale.tell(Compensate()).jobs == [""]
    assert tale.returned("a").state == "compensated"


def test_retry_does_what_waits_for_its_time_now() -> None:
    tale = Tale(step("a")).raised("a", wait=MINUTE).tell(RetryStep("a"))
    assert (tale.jobs, tale.taken().call) == ([""], "a")


def test_retry_of_a_compensation_that_gave_up_goes_on_back() -> None:
    tale = Tale(step("a"), step("b")).returned("a").raised("b").raised("a").tell(RetryStep("a"))
    assert (tale.state, tale.returned("a").state) == ("compensating", "compensated")


def test_skip_takes_a_step_or_a_compensation_for_done_with_the_reason() -> None:
    tale = Tale(step("a"), signal("yes"), step("b")).returned("a").tell(SkipStep("yes", "said on the phone"))
    assert (tale["yes"], tale.run.step("yes").reason, tale.jobs) == ("skipped", "said on the phone", [""])
    tale.raised("b").raised("a").tell(SkipStep("a", "undone by hand"))
    assert (tale["a"], tale.state) == ("compensation_skipped", "compensated")
