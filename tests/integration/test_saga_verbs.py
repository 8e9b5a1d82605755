"""What operators do to sagas: each verb with its audit entry, and the fork."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from taskyard.errors import StillHidden, WrongState
from taskyard.models import AuditEntry
from taskyard.operations import Actor, sagas
from taskyard.sagas import Handle
from taskyard.sagas.declaring import registry
from taskyard.sagas.models import Saga, SagaEvent, SagaStep
from taskyard.testing import run_jobs
from tests.app import operated
from tests.app.operated import Halves, Insurance, Order

pytestmark = pytest.mark.django_db(transaction=True)

CARD = "4000 1234 5678"
ZOE = Actor.system("zoe", via="test")


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    yield
    for each in (operated.FAILS, operated.DONE, operated.KEYS):
        each.clear()


def order(**inputs: Any) -> Handle:
    run = Order.start(**{"item": "book", "card": CARD, "wants": False, **inputs})
    run_jobs()
    return run


def states(run: Any) -> dict[str, str]:
    return {each.name: each.state for each in sagas.show(ZOE, run.id).steps}


def last_entry() -> AuditEntry:
    entry = AuditEntry.objects.order_by("-id").first()
    assert entry is not None
    return entry


def test_a_step_behind_the_pivot_is_retried_and_the_saga_goes_on() -> None:
    operated.FAILS.add("thank")
    run = order()
    sagas.skip_step(ZOE, run.id, "calm", reason="no hurry")
    run_jobs()
    assert run.state == "needs_attention"
    operated.FAILS.clear()
    sagas.retry_step(ZOE, run.id, "thank")
    run_jobs()
    assert (run.state, run.result()) == ("completed", "thanked")
    entries = AuditEntry.objects.filter(kind="saga").order_by("id")
    assert [(each.verb, each.who, each.target, each.said["step"]) for each in entries] == [
        ("skip_step", "zoe", str(run.id), "calm"), ("retry_step", "zoe", str(run.id), "thank"),
    ]  # fmt: skip
    assert (entries[1].before, entries[1].after) == ({"state": "needs_attention"}, {"state": "running"})
    assert SagaEvent.objects.get(saga=run.id, what="asked_to_skip").who == "zoe"


def test_a_compensation_that_gave_up_is_skipped_with_a_reason_alone() -> None:
    operated.FAILS |= {"pack", "-charge"}
    run = order()
    for _ in range(4):
        sagas.retry_step(ZOE, run.id, "charge")
        run_jobs()
    assert run.state == "needs_attention"
    with pytest.raises(WrongState, match="say why"):
        sagas.skip_step(ZOE, run.id, "charge", reason=" ")
    sagas.skip_step(ZOE, run.id, "charge", reason="refunded by hand")
    run_jobs()
    assert (run.state, states(run)["charge"]) == ("compensated", "compensation_skipped")
    assert operated.DONE[-2:] == ["-insure", "-reserve"]


def test_one_that_needs_attention_goes_on_forward_when_it_is_resumed() -> None:
    operated.FAILS |= {"pack", "-reserve"}
    run = order()
    for _ in range(4):
        sagas.retry_step(ZOE, run.id, "reserve")
        run_jobs()
    assert (run.state, states(run)["charge"]) == ("needs_attention", "compensated")
    operated.FAILS.clear()
    sagas.resume(ZOE, run.id, reason="the network is back")
    run_jobs()
    assert states(run)["calm"] == "waiting"
    assert operated.DONE == ["reserve", "charge", "insure", "-insure", "-charge", "charge", "insure", "pack", "ship"]
    assert len(set(operated.KEYS)) == len(operated.KEYS)
    assert last_entry().reason == "the network is back"


def test_one_that_has_completed_is_compensated_and_says_why() -> None:
    run = Insurance.start()
    run_jobs()
    sagas.compensate(ZOE, run.id, reason="a fraud")
    run_jobs()
    assert (run.state, run.saga.error["message"]) == ("compensated", "a fraud")
    assert operated.DONE == ["insure", "-insure"]


def test_a_refused_verb_changes_nothing_and_leaves_no_entry() -> None:
    run = order()
    before = (run.saga.revision, AuditEntry.objects.count())
    for verb, words in (
        (lambda: sagas.cancel(ZOE, run.id), "past 'ship'"),
        (lambda: sagas.compensate(ZOE, run.id), "past 'ship'"),
        (lambda: sagas.resume(ZOE, run.id), "only what needs attention"),
        (lambda: sagas.retry_step(ZOE, run.id, "pack"), "is succeeded"),
        (lambda: sagas.skip_step(ZOE, run.id, "nowhere", reason="x"), "has no step 'nowhere'"),
        (lambda: sagas.signal(ZOE, run.id, "aproved"), "no signal 'aproved': approved"),
        (lambda: sagas.fork(ZOE, run.id, "pack"), "it is waiting: cancel it"),
    ):
        with pytest.raises(WrongState, match=words):
            verb()
    assert (run.saga.revision, AuditEntry.objects.count()) == before


def test_a_signal_of_an_operator_is_used_once() -> None:
    run = order(wants=True)
    assert sagas.signal(ZOE, run.id, "approved", {"by": "zoe"}, key="1")
    assert not sagas.signal(ZOE, run.id, "approved", {"by": "zoe"}, key="1")
    run_jobs()
    assert states(run)["approved"] == "succeeded"
    assert [each.count for each in AuditEntry.objects.filter(verb="signal").order_by("id")] == [1, 0]


def test_a_cancelled_one_is_undone_and_called_so() -> None:
    run = order(wants=True)
    sagas.cancel(ZOE, run.id, reason="changed their mind")
    run_jobs()
    assert (run.state, operated.DONE) == ("cancelled", ["reserve", "-reserve"])


# -- fork --------------------------------------------------------------------------------------------------------------


def stuck_at_thanks() -> Handle:
    operated.FAILS.add("thank")
    run = order()
    sagas.skip_step(ZOE, run.id, "calm", reason="no hurry")
    run_jobs()
    operated.FAILS.clear()
    operated.DONE.clear()
    operated.KEYS.clear()
    return run


def test_a_fork_takes_over_what_came_before_and_runs_the_rest_with_keys_of_its_own() -> None:
    run = stuck_at_thanks()
    revision = run.saga.revision
    fork = Handle(sagas.fork(ZOE, run.id, "charge", reason="another card").id)
    run_jobs()
    assert operated.DONE == ["charge", "insure", "pack", "ship"]
    assert operated.KEYS[0] == f"{fork.id}-charge-1"
    assert (fork.saga.forked_from, fork.saga.created_by, run.saga.revision) == (run.id, "zoe", revision)
    taken = {each.name: each.is_taken_over for each in sagas.show(ZOE, fork.id).steps}
    assert [name for name, is_taken in taken.items() if is_taken] == ["reserve", "approved"]
    assert last_entry().said == {"name": "order", "step": "charge", "fork": str(fork.id), "changed": []}
    assert sagas.show(ZOE, fork.id).history[0].text == f"{run.id} at charge"


def test_a_fork_compensates_what_it_ran_itself_alone() -> None:
    run = stuck_at_thanks()
    operated.FAILS.add("pack")
    fork = Handle(sagas.fork(ZOE, run.id, "charge").id)
    run_jobs()
    assert fork.state == "compensated"
    assert operated.DONE == ["charge", "insure", "-insure", "-charge"]
    assert states(run)["reserve"] == "succeeded"


def test_a_fork_has_the_inputs_that_are_given_and_secrets_that_were_left_as_shown() -> None:
    run = stuck_at_thanks()
    fork = Handle(sagas.fork(ZOE, run.id, "reserve", inputs={"item": "pen", "card": "[redacted]"}).id)
    run_jobs()
    assert fork.saga.inputs == {"item": "pen", "card": CARD}
    assert last_entry().said["changed"] == ["item", "wants"]
    assert states(fork)["approved"] == "waiting"
    with pytest.raises(StillHidden):
        sagas.fork(ZOE, run.id, "reserve", inputs={"item": "[redacted]", "card": CARD})
    with pytest.raises(TypeError, match="'colour' is not among them"):
        sagas.fork(ZOE, run.id, "reserve", inputs={"item": "pen", "card": CARD, "colour": "red"})


def test_a_fork_is_refused_where_a_step_before_it_was_compensated_or_the_code_is_another() -> None:
    operated.FAILS.add("pack")
    run = order()
    assert run.state == "compensated"
    with pytest.raises(WrongState, match="step 'reserve', before 'charge', is compensated"):
        sagas.fork(ZOE, run.id, "charge")
    with pytest.raises(WrongState, match="has no step 'nowhere'"):
        sagas.fork(ZOE, run.id, "nowhere")
    assert sagas.fork(ZOE, run.id, "reserve").forked_from == run.id
    Saga.objects.filter(id=run.id).update(version=7)
    assert registry.find("order", 7) is None
    with pytest.raises(WrongState, match="version 7 of 'order' is not in the code"):
        sagas.fork(ZOE, run.id, "reserve")


def test_a_fork_is_refused_while_a_worker_is_in_a_step() -> None:
    run = stuck_at_thanks()
    SagaStep.objects.filter(saga=run.id, name="pack").update(state="running")
    with pytest.raises(WrongState, match="a worker is in step 'pack'"):
        sagas.fork(ZOE, run.id, "reserve")


def test_a_fork_of_a_group_runs_the_whole_group() -> None:
    operated.FAILS.add("count")
    run = Halves.start()
    run_jobs()
    operated.FAILS.clear()
    operated.DONE.clear()
    fork = Handle(sagas.fork(ZOE, run.id, "right").id)
    run_jobs()
    assert (fork.state, sorted(operated.DONE)) == ("completed", ["count", "left", "right"])


def test_a_fork_behind_the_pivot_is_past_it() -> None:
    run = stuck_at_thanks()
    operated.FAILS.add("thank")
    fork = Handle(sagas.fork(ZOE, run.id, "thank").id)
    run_jobs()
    assert (fork.state, sagas.show(ZOE, fork.id).at <= timezone.now()) == ("needs_attention", True)
    assert operated.DONE == []
