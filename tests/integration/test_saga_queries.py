"""The read side of sagas: pages, everything about one, why it waits, and its timeline."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from taskyard.jobs.detail import HeldBack
from taskyard.jobs.pages.keyset import place_text
from taskyard.sagas import Handle
from taskyard.sagas.machine.events import RetryStep, SkipStep
from taskyard.sagas.models import SagaEvent, SagaStep
from taskyard.sagas.reading import queries
from taskyard.sagas.reading.queries import SagaFilter, SagaReading
from taskyard.sagas.reading.timeline import BarKind
from taskyard.sagas.running.coordinator import Turn
from taskyard.sagas.writing import store
from taskyard.testing import run_jobs
from tests.app import operated
from tests.app.operated import Insurance, Order, Parcel

pytestmark = pytest.mark.django_db(transaction=True)

CARD = "4000 1234 5678"


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    yield
    for each in (operated.FAILS, operated.DONE, operated.KEYS):
        each.clear()


def reading(run: Handle, *, now: dt.datetime | None = None, tenant: str | None = None) -> SagaReading:
    found = queries.find_saga(run.id, now or timezone.now(), held_back=lambda *_: HeldBack(), tenant=tenant)
    assert found is not None
    return found


def order(**inputs: Any) -> Handle:
    return Order.start(**{"item": "book", "card": CARD, **inputs})


def states(found: SagaReading) -> dict[str, str]:
    return {each.name: each.state for each in found.steps}


def bars(found: SagaReading, step: str) -> list[tuple[str, str]]:
    lane = next(each for each in found.timeline.lanes if each.step == step)
    return [(each.kind.value, each.ended) for each in lane.bars]


def tell(run: Handle, event: Any) -> None:
    store.tell(run.id, event, timezone.now())
    run_jobs()


def test_a_saga_is_shown_with_all_steps_of_its_plan_and_without_secrets() -> None:
    run = order()
    run_jobs()
    run.signal("approved", {"card": CARD, "by": "zoe"})
    run_jobs()
    found = reading(run)
    assert list(states(found)) == ["reserve", "approved", "charge", "insured", "pack", "ship", "calm", "thank"]
    assert states(found)["calm"] == "waiting" and states(found)["thank"] == "pending"
    assert CARD not in json.dumps([found.inputs, [each.result for each in found.steps], found.signals[0].payload])
    charge = found.steps[2]
    assert (charge.takes, charge.result) == (("card", "reserve"), {"paid_with": "[redacted]"})
    assert found.inputs == {"item": "book", "card": "[redacted]"}
    (signal,) = found.signals
    assert (signal.name, signal.payload["by"], signal.used_at is not None) == ("approved", "zoe", True)
    assert [each.revision for each in found.history] == sorted(each.revision for each in found.history)


@override_settings(TASKYARD={"SENSITIVE": ["item"]})
def test_what_the_project_calls_a_secret_is_taken_out_of_errors_before_they_are_written() -> None:
    operated.FAILS.add("charge")
    run = order(wants=False, item="Stradivari")
    run_jobs()
    stored = SagaStep.objects.get(saga=run.id, name="charge").error
    assert stored["message"] == "no route to [redacted] for [redacted]"
    assert "Stradivari" not in stored["traceback"]


def test_why_it_waits_is_told_of_each_kind_of_waiting() -> None:
    run = order()
    assert reading(run).waits_for.startswith(f"it is queued on 'celery': job {run.saga.runner}: ")
    run_jobs()
    said = reading(run).waits_for
    assert said.startswith("waits for signal 'approved' since ") and ", until " in said
    operated.FAILS.add("charge")
    run.signal("approved")
    run_jobs()
    assert reading(run).waits_for.startswith("attempt 2 of 'charge' at ")
    assert reading(run).waits_for.endswith("(CardNetworkDown)")
    operated.FAILS.clear()
    tell(run, RetryStep("charge"))
    assert reading(run).waits_for.startswith("waits until ")
    assert "no keeper has looked at it" not in reading(run).waits_for
    late = timezone.now() + dt.timedelta(days=3)
    assert "no keeper has looked at it since" in reading(run, now=late).waits_for


def test_a_step_in_line_is_told_with_its_job_and_its_queue() -> None:
    run = Parcel.start()
    Turn(run.id, Parcel.definition, runner=run.saga.runner).run()
    (weigh,) = reading(run).steps
    assert reading(run).waits_for.startswith(f"step 'weigh' is queued on 'slow': job {weigh.job}: no live worker")


def test_why_a_saga_needs_attention_names_the_step_that_gave_up() -> None:
    operated.FAILS |= {"pack", "-charge"}
    run = order(wants=False)
    run_jobs()
    for _ in range(4):
        tell(run, RetryStep("charge"))
    found = reading(run)
    assert found.waits_for == "needs attention: compensation of 'charge' gave up after 5 attempts (CardNetworkDown)"
    assert queries.needing_attention().count == 1
    assert queries.needing_attention(tenant="acme").count == 0
    assert bars(found, "charge")[0] == ("forward", "succeeded")
    assert bars(found, "charge")[-1] == ("compensation", "compensation_failed")
    assert [each for each in bars(found, "charge") if each[0] == "lost_attempt"] == [("lost_attempt", "retrying")] * 4


def test_a_saga_behind_its_pivot_says_so() -> None:
    operated.FAILS.add("thank")
    run = order(wants=False)
    run_jobs()
    tell(run, SkipStep("calm", "no hurry"))
    said = "needs attention: step 'thank' failed after 1 attempt (CardNetworkDown), behind the pivot 'ship'"
    assert reading(run).waits_for == said
    assert bars(reading(run), "calm") == [("waiting", "skip")]


def test_a_timeline_goes_on_at_what_waits_and_draws_long_waits_short() -> None:
    run = order()
    run_jobs()
    begun = run.saga.created_at
    SagaEvent.objects.filter(saga=run.id, what="started").update(at=begun)
    SagaEvent.objects.filter(saga=run.id, what__in=["succeeded", "waiting"]).update(at=begun + dt.timedelta(seconds=10))
    line = reading(run, now=begun + dt.timedelta(hours=1)).timeline
    assert line.is_squeezed
    (reserve,), (approved,) = line.lanes[0].bars, line.lanes[1].bars
    assert (approved.kind, approved.end) == (BarKind.WAITING, None)
    assert [round(line.place(at), 2) for at in (reserve.start, reserve.end, approved.end)] == [0.0, 0.67, 1.0]
    assert line.lanes[-1].bars == ()


def test_a_page_is_found_by_what_a_filter_says() -> None:
    first, second = Insurance.start(), Insurance.using(tenant="acme").start()
    third = Order.using(tenant="acme").start(item="book", card=CARD)
    run_jobs()

    def ids(**said: Any) -> list[Any]:
        return [each.id for each in queries.find_page(SagaFilter(**said), limit=10).rows]

    assert ids() == [third.id, second.id, first.id]
    assert ids(tenant="acme", name="insurance") == [second.id]
    assert ids(states=("completed",), tenant="acme") == [second.id]
    assert ids(states=("completed", "waiting"), tenant="acme") == [third.id, second.id]
    assert ids(since=timezone.now()) == []
    page = queries.find_page(SagaFilter(), limit=2)
    rest = queries.find_page(SagaFilter(), after=place_text(page.after or ()), limit=2)
    assert [each.id for each in (*page.rows, *rest.rows)] == ids()
    assert queries.find_saga(second.id, timezone.now(), held_back=lambda *_: HeldBack(), tenant="globex") is None
