"""Jobs that share a message and nothing else: which do, how each is told apart, when the message is acknowledged."""

import logging
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import InvalidTaskError
from django.test import override_settings

from taskyard.celery.messages import MARK, MOST_IN_PACK, PACK, SHARE, TENANT, headers_of_each, jobs_of, shared_message
from taskyard.celery.publisher import BrokerPublisher
from taskyard.celery.worker import request
from taskyard.celery.worker.request import SharedMessage
from taskyard.celery.worker.settler import PutBack
from taskyard.outbox.outgoing import Outgoing
from taskyard.outbox.window import Demand, together
from tests.unit.test_prefetch import out

logger = logging.getLogger(__name__)


@pytest.mark.parametrize(
    ("rate", "slots", "jobs"),
    [(0.0, 2, 1), (90.0, 2, 1), (200.0, 2, 2), (1000.0, 2, 10), (50_000.0, 2, 16), (1000.0, 20, 1), (1000.0, 0, 1)],
)
def test_a_message_is_shared_by_what_a_slot_gets_through_in_a_fiftieth_of_a_second(
    rate: float, slots: int, jobs: int
) -> None:
    assert together(Demand(slots, rate)) == jobs


def parcels(batch: list[Outgoing], together: int) -> list[list[Outgoing]]:
    return [list(parcel) for _, parcel in BrokerPublisher()._parcels(batch, together)]


@pytest.mark.parametrize(("jobs", "sizes"), [(1, [1]), (8, [1] * 8), (20, [3] * 6 + [2]), (100, [5] * 20)])
def test_a_batch_becomes_at_least_eight_messages_of_at_most_as_many_jobs_as_may_share_one(
    jobs: int, sizes: list[int]
) -> None:
    assert [len(parcel) for parcel in parcels([out("app.nothing") for _ in range(jobs)], 5)] == sizes


@pytest.mark.parametrize("change", [{"time_limit": 5.0}, {"soft_time_limit": 5.0}, {"attempt": 1}])
def test_a_job_with_a_limit_of_its_own_or_a_past_has_its_message_for_itself(change: dict[str, Any]) -> None:
    assert {len(parcel) for parcel in parcels([out("app.nothing", **change) for _ in range(40)], 5)} == {1}


def test_a_message_is_of_one_task_and_one_queue() -> None:
    batch = [out(f"app.{n % 3}", queue=f"q{n % 2}") for n in range(120)]
    for parcel in parcels(batch, 5):
        assert len({(one.task, one.queue) for one in parcel}) == 1
    assert sorted(one.id for parcel in parcels(batch, 5) for one in parcel) == sorted(one.id for one in batch)


def test_jobs_that_are_packed_are_packed_whatever_may_share() -> None:
    assert [len(parcel) for parcel in parcels([out("app.tiny") for _ in range(80)], 5)] == [10] * 8


def test_each_job_of_a_shared_message_is_what_it_would_be_alone() -> None:
    first, second = out(tenant="acme", root="r1"), out(parent="p2", root="r2")
    body, headers, properties = shared_message([first, second])
    one, other = headers_of_each(headers)

    assert jobs_of(headers) == [first.id, second.id]
    assert (one["id"], one["root_id"], one["parent_id"], one[TENANT]) == (first.task_id, "r1", None, "acme")
    assert (other["id"], other["root_id"], other["parent_id"], other[TENANT]) == (second.task_id, "r2", "p2", "")
    assert one[MARK] == headers[MARK]
    assert SHARE not in one
    assert headers["id"] == properties["correlation_id"] not in {first.task_id, second.task_id}
    assert body.startswith("[[], {}")


@pytest.mark.parametrize(
    "share", [[], "x", {}, [[]], [["a", "b", "c"]], [["a", "b", "c", 1]], [None], [["a"] * 4] * (MOST_IN_PACK + 1)]
)
def test_a_share_that_no_publisher_makes_is_refused(share: object) -> None:
    _, headers, _ = shared_message([out(), out()])
    with pytest.raises(ValueError, match="the shared message is of"):
        jobs_of({**headers, SHARE: share})


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> list[PutBack]:
    submitted: list[PutBack] = []
    monkeypatch.setattr(request, "settler", lambda: SimpleNamespace(submit=submitted.append))
    return submitted


def test_the_message_is_acknowledged_once_when_the_last_of_its_jobs_is_through(put_back: list[PutBack]) -> None:
    acknowledged: list[tuple[Any, ...]] = []
    message = SharedMessage(3, lambda *args: acknowledged.append(args))
    message.through(logger, ())
    message.through(logger, ())
    assert acknowledged == []
    message.through(logger, ())
    assert acknowledged == [(logger, ())]
    assert put_back == []


def test_a_job_given_back_goes_to_the_table_and_holds_the_message_no_more(put_back: list[PutBack]) -> None:
    acknowledged: list[object] = []
    message, job = SharedMessage(2, lambda *_: acknowledged.append(1)), uuid.uuid4()
    message.give_back(job, "app.nothing", logger, (), requeue=True)
    assert [(one.job_id, one.task, bool(one.wait)) for one in put_back] == [(job, "app.nothing", False)]
    assert acknowledged == []
    message.give_back(uuid.uuid4(), "app.nothing", logger, (), requeue=False)
    assert len(put_back) == 1
    assert acknowledged == [1]


def _read(headers: dict[str, Any]) -> None:
    request._read(SimpleNamespace(headers=headers), None, None)


def test_a_shared_message_is_never_a_pack_as_well() -> None:
    _, headers, _ = shared_message([out(), out()])
    with pytest.raises(InvalidTaskError, match="not shared"):
        _read({**headers, PACK: [str(uuid.uuid4())]})


def test_where_messages_are_signed_no_message_is_shared() -> None:
    _, headers, _ = shared_message([out(), out()])
    with override_settings(TASKYARD={"SIGNING_KEYS": ["k" * 32]}), pytest.raises(InvalidTaskError, match="not shared"):
        _read(headers)
