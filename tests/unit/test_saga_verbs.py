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


def test_what_is_being_compensated_is_neither_cancelled_nor_compensated() -> None:
    tale = Tale(step("a"), step("b")).returned("a").raised("b")
    assert tale.refuses(Cancel()) == tale.refuses(Compensate()) == "it is being compensated"


def test_retry_does_what_waits_for_its_time_now() -> None:
    tale = Tale(step("a")).raised("a", wait=MINUTE).tell(RetryStep("a"))
    assert (tale.jobs, tale.taken().call) == ([""], "a")


def test_retry_of_what_waits_for_its_time_wakes_one_that_needs_attention() -> None:
    tale = Tale(step("a")).taken().tell(Stopped(BOOM))
    assert (tale.state, tale["a"]) == ("needs_attention", "retrying")
    assert (tale.tell(RetryStep("a")).jobs, tale.state, tale.run.stuck) == ([""], "running", None)


def test_retry_of_a_compensation_that_gave_up_goes_on_back() -> None:
    tale = Tale(step("a"), step("b")).returned("a").raised("b").raised("a").tell(RetryStep("a"))
    assert (tale.state, tale.returned("a").state) == ("compensating", "compensated")


def test_retry_is_refused_for_what_neither_failed_nor_waits() -> None:
    tale = Tale(step("a"), step("b")).returned("a").raised("b").returned("a")
    assert tale.refuses(RetryStep("a")).startswith("step 'a' is compensated")
    assert tale.refuses(RetryStep("b")) == "step 'b' failed, and the saga, which is compensated, went on from that"
    assert tale.refuses(RetryStep("c")) == "it has no step 'c': a, b"


def test_skip_takes_a_step_or_a_compensation_for_done_with_the_reason() -> None:
    tale = Tale(step("a"), signal("yes"), step("b")).returned("a").tell(SkipStep("yes", "said on the phone"))
    assert (tale["yes"], tale.run.step("yes").reason, tale.jobs) == ("skipped", "said on the phone", [""])
    tale.raised("b").raised("a").tell(SkipStep("a", "undone by hand"))
    assert (tale["a"], tale.state) == ("compensation_skipped", "compensated")


def test_skip_is_refused_while_a_worker_is_in_the_step() -> None:
    tale = Tale(step("a"), child("b")).taken()
    assert tale.refuses(SkipStep("a", "why")) == "a worker is in step 'a' at this moment"
    assert "mend or cancel that" in tale.returned("a").refuses(SkipStep("b", "why"))


def test_resume_runs_what_failed_again_and_what_was_undone_as_another_effect() -> None:
    tale = Tale(step("a"), step("b"), step("c")).returned("a", "b").raised("c").returned("b").raised("a")
    assert tale.tell(Resume()).jobs == [""]
    assert (tale["a"], tale.taken().call, tale.run.step("b").round) == ("succeeded", "b", 2)
    assert (tale.run.step("b").result, tale.returned("b").call) == (None, "c")
    assert tale.run.step("c").round == 1


def test_resume_does_not_take_a_step_for_done_whose_failure_could_not_be_compensated() -> None:
    tale = Tale(step("a", undoes_failed=True)).raised("a").raised("a")
    assert (tale.state, tale["a"]) == ("needs_attention", "compensation_failed")
    assert tale.tell(Resume())["a"] == "pending"
    assert tale.tell(Cancel()).taken().call == "-a"


def test_resume_behind_the_deadline_has_none_any_more() -> None:
    tale = Tale(step("a"), step("b"), deadline=MINUTE).returned("a").later(MINUTE)
    tale.returned("b").returned("b").raised("a")
    assert tale.tell(Resume()).taken().call == "b"


def test_resume_is_refused_where_it_goes_on_and_while_a_worker_is_in_a_compensation() -> None:
    assert Tale(step("a")).refuses(Resume()) == "it is running, and only what needs attention is resumed"
    tale = Tale(routed("a"), step("b")).returned("a").raised("b").begun("a").tell(Stopped(BOOM))
    assert "is being compensated at this moment" in tale.refuses(Resume())
