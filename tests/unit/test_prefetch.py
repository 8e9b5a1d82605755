"""How many messages a worker takes ahead, when it gives back, and which jobs travel together: rules, no broker."""

import datetime as dt
import itertools
import uuid
from typing import Any

import pytest
from celery.utils.collections import ConfigurationView
from django.test import override_settings

from taskyard import task
from taskyard.celery.application import get_app
from taskyard.celery.messages import MOST_IN_PACK, PACK, TENANT, jobs_of, pack_message
from taskyard.celery.publisher import BrokerPublisher
from taskyard.celery.worker.prefetch import Patience, ahead
from taskyard.errors import InvalidTask
from taskyard.outbox.outgoing import Outgoing
from tests.app import tasks

# -- taking ahead


@pytest.mark.parametrize(
    ("rate", "messages"),
    [(0.0, 0), (3.0, 0), (19.9, 0), (20.0, 1), (100.0, 5), (999.0, 49), (1000.0, 50), (50_000.0, 50)],
)
def test_ahead_is_a_twentieth_of_a_second_of_work_and_never_more_than_fifty(rate: float, messages: int) -> None:
    assert ahead(rate) == messages


def test_what_waits_is_given_back_at_the_first_look_and_then_ever_more_rarely() -> None:
    patience = Patience()
    given_back = [look for look in range(200) if patience.is_over()]

    gaps = [later - earlier for earlier, later in itertools.pairwise(given_back)]
    assert given_back[0] == 0
    assert gaps == [2, 3, 5, 9, 17, 33, 33, 33, 33]


def test_after_something_has_begun_the_next_is_given_back_at_once_again() -> None:
    patience = Patience()
    assert [patience.is_over() for _ in range(3)] == [True, False, True]
    patience.begun()
    assert patience.is_over()


# -- travelling together


def out(task: str = "app.tiny", **changes: Any) -> Outgoing:
    values: dict[str, Any] = {
        "queue": "celery", "priority": 0, "tenant": "", "root": "", "parent": "", "attempt": 0,
        "soft_time_limit": None, "time_limit": None, "message": None, **changes,
    }  # fmt: skip
    own = uuid.uuid4()
    return Outgoing(id=own, task_id=str(own), task=task, **values)


def packs(batch: list[Outgoing]) -> list[list[Outgoing]]:
    return [list(pack) for _, pack in BrokerPublisher()._parcels(batch)]


@pytest.mark.parametrize(
    ("jobs", "sizes"),
    [(1, [1]), (8, [1] * 8), (9, [2, 2, 2, 2, 1]), (80, [10] * 8), (500, [63] * 7 + [59]), (900, [100] * 9)],
)
def test_a_batch_becomes_about_eight_packs_of_at_most_a_hundred_jobs(jobs: int, sizes: list[int]) -> None:
    assert [len(pack) for pack in packs([out() for _ in range(jobs)])] == sizes


def test_packing_keeps_the_order_and_forgets_no_job() -> None:
    batch = [out("app.nothing" if n % 3 == 0 else "app.tiny") for n in range(60)]
    made = packs(batch)

    assert sorted(job.id for pack in made for job in pack) == sorted(job.id for job in batch)
    assert [job.id for pack in made for job in pack if job.task == "app.tiny"] == [
        job.id for job in batch if job.task == "app.tiny"
    ]
    # A job that is not packed goes where it stands: the first before any pack, the others behind the packed ones.
    assert [job.id for pack in made for job in pack if job.task == "app.nothing"] == [
        job.id for job in batch if job.task == "app.nothing"
    ]
    assert made[0] == [batch[0]]
    assert made[1][0] is batch[1]


def test_what_was_tried_before_travels_alone() -> None:
    batch = [out(attempt=1 if n % 10 == 0 else 0) for n in range(80)]
    for pack in packs(batch):
        assert len(pack) == 1 or all(job.attempt == 0 for job in pack)
    assert max(map(len, packs(batch))) > 1


@pytest.mark.parametrize("change", [{"time_limit": 5.0}, {"soft_time_limit": 5.0}])
def test_a_job_with_a_limit_of_its_own_travels_alone(change: dict[str, float]) -> None:
    assert [len(pack) for pack in packs([out(**change) for _ in range(40)])] == [1] * 40


@pytest.mark.parametrize("name", ["app.nothing", "app.add", "nobody.knows"])
def test_other_tasks_are_not_packed(name: str) -> None:
    assert [len(pack) for pack in packs([out(name) for _ in range(40)])] == [1] * 40


@pytest.mark.parametrize("attribute", ["time_limit", "soft_time_limit", "rate_limit"])
def test_a_task_that_celery_limits_is_not_packed(attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_app().tasks["app.tiny"], attribute, 10)
    assert [len(pack) for pack in packs([out() for _ in range(40)])] == [1] * 40


@pytest.mark.parametrize("option", ["task_time_limit", "task_soft_time_limit"])
def test_nothing_is_packed_where_celery_limits_every_task(option: str) -> None:
    conf: ConfigurationView = get_app().conf
    conf[option] = 10
    try:
        assert [len(pack) for pack in packs([out() for _ in range(40)])] == [1] * 40
    finally:
        del conf.changes[option]
    assert max(map(len, packs([out() for _ in range(40)]))) == 5


def test_jobs_of_different_queues_never_share_a_message() -> None:
    made = packs([out(queue="celery" if n % 2 else "other") for n in range(40)])
    assert all(len({job.queue for job in pack}) == 1 for pack in made)


def test_with_signing_on_every_job_has_a_message_of_its_own(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    sent: list[tuple[Outgoing, Any]] = []
    publisher = BrokerPublisher()
    monkeypatch.setattr(publisher, "_send", lambda batch: bool(sent.extend(batch)) or True)
    batch = [out() for _ in range(40)]

    with override_settings(TASKYARD={"SIGNING_KEYS": ["k" * 32]}):
        assert publisher.publish(batch) == []
    assert [job for job, _ in sent] == batch

    sent.clear()
    assert publisher.publish(batch) == []
    assert len(sent) == 8


def test_a_pack_says_which_jobs_and_no_tenant_and_its_id_is_no_jobs() -> None:
    jobs = [out(tenant=name) for name in ("acme", "other")]
    _, headers, properties = pack_message(jobs)

    assert jobs_of(headers) == [job.id for job in jobs]
    assert headers[TENANT] == ""
    assert headers["id"] == properties["correlation_id"] not in {job.task_id for job in jobs}


ONE = "0a0f1d0e-3a0e-4c38-9a7b-000000000001"


@pytest.mark.parametrize(
    "pack",
    [[], {}, "", ONE, 7, [7], [None], [["a"]], ["report-17"], [ONE, "x"], [ONE] * (MOST_IN_PACK + 1), True],
    ids=lambda value: f"{value!r:.20}",
)
def test_a_pack_no_publisher_makes_is_an_error(pack: object) -> None:
    with pytest.raises(ValueError):
        jobs_of({"id": "x", PACK: pack})


def test_a_job_named_twice_in_a_pack_is_there_once() -> None:
    assert jobs_of({"id": "x", PACK: [ONE, ONE, ONE.upper()]}) == [uuid.UUID(ONE)]


# -- declaring


@pytest.mark.parametrize(
    "options",
    [{"time_limit": dt.timedelta(seconds=5)}, {"soft_time_limit": dt.timedelta(seconds=5)}, {"tracked": False}],
    ids=lambda options: next(iter(options)),
)
def test_a_packed_task_has_no_limits_and_is_tracked(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidTask, match="pack=True"):
        task(name="app.never_declared", pack=True, **options)(lambda: None)


def test_packing_is_off_unless_asked_for() -> None:
    assert tasks.tiny.options.pack
    assert not tasks.nothing.options.pack
