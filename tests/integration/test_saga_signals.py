"""Signals: used once by the step that waits for them, kept until then, refused for whoever may not send them."""

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from taskyard.errors import NotFound, NotJson, WrongState
from taskyard.sagas.handle import Handle, signal
from taskyard.sagas.machine.events import SkipStep
from taskyard.sagas.models import Saga, SagaSignal
from taskyard.sagas.states import SagaState
from taskyard.sagas.writing import store
from taskyard.testing import Clock, run_jobs
from tests.app.waits import HOUR, Reply, Visit
from tests.integration.saga_words import errors, history, kept, later, states, used
from tests.ledger import Ledger

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ledger")]

SECOND = dt.timedelta(seconds=1)


def waiting() -> Handle:
    """A visit that rang and waits at the door."""
    run = Visit.start()
    run_jobs()
    assert (run.state, states(run)["approval"]) == (SagaState.WAITING, "waiting")
    return run


def test_a_signal_before_the_wait_is_kept_and_used_by_it() -> None:
    run = Visit.start()
    assert run.signal("approval", "early") is True
    assert (kept(run), used(run)) == (["early"], [])
    run_jobs()
    assert (run.state, run.result()) == (SagaState.COMPLETED, "early")
    assert (kept(run), used(run)) == ([], ["early"])
    assert history(run)[0] == "signalled"


def test_a_signal_while_a_worker_is_in_an_earlier_step_is_kept_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Visit.start()
    monkeypatch.setattr("tests.app.waits.effect", lambda *_: run.signal("approval", "meanwhile", key="one"))
    run_jobs()
    assert run.result() == "meanwhile"
    assert (kept(run), used(run)) == ([], ["meanwhile"])


def test_a_signal_during_the_wait_lets_the_saga_go_on(ledger: Ledger) -> None:
    run = waiting()
    assert ledger.effects == ["ring"]
    assert run.signal("approval", {"by": "Ada"}) is True
    assert (run.state, states(run)["approval"], used(run)) == (SagaState.RUNNING, "succeeded", [{"by": "Ada"}])
    run_jobs()
    assert run.result() == {"by": "Ada"}
    assert ledger.effects == ["ring", "enter"]
    history(run)


def test_a_signal_after_the_wait_is_kept_and_changes_nothing() -> None:
    run = waiting()
    run.signal("approval", "first")
    assert run.signal("approval", "second") is True
    run_jobs()
    assert run.result() == "first"
    assert (kept(run), used(run)) == (["second"], ["first"])


def test_a_signal_to_a_saga_that_has_ended_is_refused_and_not_kept() -> None:
    run = waiting()
    run.signal("approval", "first")
    run_jobs()
    with pytest.raises(WrongState, match="completed"):
        run.signal("approval", "late")
    assert (kept(run), used(run)) == ([], ["first"])


@pytest.mark.parametrize("is_waiting", [False, True])
def test_the_same_key_twice_is_one_signal(is_waiting: bool) -> None:
    run = waiting() if is_waiting else Visit.start()
    assert run.signal("approval", "once", key="mail-17") is True
    assert run.signal("approval", "again", key="mail-17") is False
    run_jobs()
    assert run.result() == "once"
    assert (kept(run), used(run)) == ([], ["once"])


def test_keys_are_those_of_one_name_and_one_saga() -> None:
    one, other = Visit.start(), Visit.start()
    assert [one.signal("approval", 1, key="k"), other.signal("approval", 2, key="k")] == [True, True]
    assert one.signal("somethingelse", 3, key="k") is True
    run_jobs()
    assert (one.result(), other.result()) == (1, 2)
    assert kept(one) == [3]


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What threads with connections of their own return, begun together."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            together.wait(30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result(60) for done in [pool.submit(run, call) for call in calls]]


def test_of_many_senders_with_one_key_at_the_same_time_one_is_heard() -> None:
    run = waiting()
    heard = at_once([lambda: run.signal("approval", "once", key="same")] * 6)
    assert sorted(heard) == [False] * 5 + [True]
    run_jobs()
    assert (kept(run), used(run), run.result()) == ([], ["once"], "once")
    history(run)


def test_of_many_signals_at_the_same_time_one_is_used_and_the_others_are_kept() -> None:
    run = waiting()
    assert at_once([lambda number=number: run.signal("approval", number) for number in range(6)]) == [True] * 6
    run_jobs()
    assert used(run) == [run.result()]
    assert sorted(kept(run) + used(run)) == list(range(6))
    history(run)


def test_another_tenants_saga_cannot_be_signalled_and_looks_as_if_it_were_not_there() -> None:
    run = waiting()
    Saga.objects.filter(id=run.id).update(tenant="acme")
    before = history(run)
    nowhere = uuid.uuid4()
    said = []
    for saga_id in (run.id, nowhere):
        with pytest.raises(NotFound) as refused:
            signal(saga_id, "approval", "mine", tenant="globex")
        said.append(str(refused.value).replace(str(saga_id), "..."))
    assert said[0] == said[1]
    assert (SagaSignal.objects.count(), history(run), run.state) == (0, before, SagaState.WAITING)
    assert signal(run.id, "approval", "ours", tenant="acme") is True
    assert (used(run), states(run)["approval"]) == (["ours"], "succeeded")


def test_a_signal_is_the_callers_transactions() -> None:
    run = waiting()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        run.signal("approval", "never")
        raise ZeroDivisionError
    assert (states(run)["approval"], SagaSignal.objects.count()) == ("waiting", 0)
    with transaction.atomic():
        run.signal("approval", "yes")
    run_jobs()
    assert run.result() == "yes"


def test_a_payload_that_is_no_json_is_refused() -> None:
    run = waiting()
    with pytest.raises(NotJson, match="approval"):
        run.signal("approval", {1, 2})
    assert (SagaSignal.objects.count(), states(run)["approval"]) == (0, "waiting")


def test_a_name_that_no_step_waits_for_is_kept() -> None:
    run = waiting()
    assert run.signal("aproval", "a slip") is True
    assert (kept(run), states(run)["approval"]) == (["a slip"], "waiting")


def test_a_signal_to_a_saga_that_turns_round_is_kept(ledger: Ledger) -> None:
    run = waiting()
    run.cancel()
    assert run.signal("approval", "too late") is True
    run_jobs()
    assert (run.state, kept(run), ledger.effects) == (SagaState.CANCELLED, ["too late"], ["ring", "-ring"])


def test_an_operator_may_skip_the_wait_and_what_comes_then_is_kept() -> None:
    run = waiting()
    store.tell(run.id, SkipStep("approval", "it was said on the telephone"), dt.datetime.now(dt.UTC))
    run_jobs()
    assert (run.state, run.result()) == (SagaState.COMPLETED, None)
    assert states(run)["approval"] == "skipped"


def test_a_signal_that_does_not_come_in_time_fails_its_step(taskyard_clock: Clock, ledger: Ledger) -> None:
    run = Reply.start()
    run_jobs()
    later(taskyard_clock, HOUR - SECOND)
    assert run.state is SagaState.WAITING
    later(taskyard_clock, SECOND)
    assert (run.state, errors(run)["answer"]) == (SagaState.COMPENSATED, "SignalTimedOut")
    assert ledger.effects == ["ask", "-ask"]
    history(run)


def test_one_that_may_stay_away_is_waited_for_and_then_done_without(taskyard_clock: Clock) -> None:
    run = Reply.start()
    run_jobs()
    later(taskyard_clock, HOUR / 2, act=lambda: run.signal("answer", 42))
    later(taskyard_clock, HOUR - SECOND)
    assert (run.state, states(run)["comment"]) == (SagaState.WAITING, "waiting")
    later(taskyard_clock, SECOND)
    assert (run.state, run.result()) == (SagaState.COMPLETED, [42, None])
    history(run)


def test_a_signal_that_came_before_its_time_out_was_noticed_is_used(taskyard_clock: Clock) -> None:
    run = Reply.start()
    run_jobs()
    later(taskyard_clock, 2 * HOUR, act=lambda: run.signal("answer", "just so"))
    assert (used(run), states(run)["answer"]) == (["just so"], "succeeded")
