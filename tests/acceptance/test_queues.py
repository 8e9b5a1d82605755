"""Queues with names, workers and an order of urgency of their own, on each broker."""

import json

import kombu
import pytest

from taskyard.jobs.models import Job
from tests.app import tasks
from tests.workers import Project, wait_for_state, wait_until_idle

QUEUES = {name: f"platform-{name}" for name in ("high", "medium", "low", "bulk", "duckdb")}
ROUTES = {"app.batch_generate_*": {"queue": "bulk"}}

ENQUEUE = """
import json
from taskyard.errors import UnknownQueue
from tests.app.tasks import add, batch_generate_letters, note, trace_line
jobs = {
    "default": trace_line.enqueue(name="x").id,
    "pattern": batch_generate_letters.enqueue(name="x").id,
    "override": batch_generate_letters.using(queue_name="high").enqueue(name="x").id,
    "celery": add.apply_async((1, 2), queue="duckdb").id,
    "signature": add.si(1, 2).set(queue="low").delay().id,
}
refused = []
for call in (
    lambda: trace_line.using(queue_name="hihg").enqueue(name="x"),
    lambda: add.apply_async((1, 2), queue="platform-high-2"),
):
    try:
        call()
    except UnknownQueue as error:
        refused.append(str(error))
print(json.dumps({"jobs": {key: str(value) for key, value in jobs.items()}, "refused": refused}))
"""


@pytest.fixture
def five(project_on: Project) -> Project:
    project_on.taskyard = {"QUEUES": QUEUES}
    project_on.celery = {"TASK_ROUTES": ROUTES, "TASK_DEFAULT_QUEUE": "medium"}
    return project_on


def test_five_queues_with_workers_of_their_own(five: Project) -> None:
    said = json.loads(five.run_python(ENQUEUE))
    wanted = {"default": "medium", "pattern": "bulk", "override": "high", "celery": "duckdb", "signature": "low"}
    assert {key: Job.objects.get(id=job_id).queue for key, job_id in said["jobs"].items()} == wanted
    # Nothing is written for a queue nobody knows, and the near name is said.
    assert Job.objects.count() == len(wanted)
    assert len(said["refused"]) == 2
    assert "'hihg'" in said["refused"][0]
    assert "high" in said["refused"][0]

    first = five.start_worker("-Q", "high,medium", "-c", "1", wait=False)
    second = five.start_worker("-Q", "low,bulk,duckdb", "-c", "2")
    jobs = {key: wait_for_state(job_id, "succeeded", 60) for key, job_id in said["jobs"].items()}

    assert jobs["default"].worker == jobs["override"].worker
    assert jobs["pattern"].worker == jobs["celery"].worker == jobs["signature"].worker
    assert jobs["default"].worker != jobs["pattern"].worker
    for worker, names in ((first, ("high", "medium")), (second, ("low", "bulk", "duckdb"))):
        for name in names:
            # The broker knows the queue by its own name.
            assert f"platform-{name} " in worker.output()
    if five.broker_url.startswith("amqp"):
        assert not exists(five, "high")
        assert exists(five, "platform-high")


def exists(project: Project, queue: str) -> bool:
    with kombu.Connection(project.broker_url) as connection:
        try:
            connection.default_channel.queue_declare(queue, passive=True)
        except connection.channel_errors:
            return False
        return True


def test_one_slot_for_several_queues_serves_the_urgent_one_first(five: Project) -> None:
    five.start_worker("-Q", "low,high", "-c", "1")
    blocker = tasks.hold.using(queue_name="low").enqueue(path=five.go)
    wait_for_state(blocker.id, "running")
    for n in range(4):
        tasks.trace_line.using(queue_name="low", priority=100).enqueue(name=f"low-{n}")
    for n in range(4):
        tasks.trace_line.using(queue_name="high").enqueue(name=f"high-{n}")
    five.release()
    wait_until_idle()

    order = [words[3] for words in five.history() if words[2] == "trace"]
    # What stood in the window when the urgent work came may go first: a message for a slot, and one in its hands.
    late = [name for name in order[:6] if name.startswith("low")]
    assert len(late) <= 2, order
    assert sorted(order) == sorted([f"{queue}-{n}" for queue in ("low", "high") for n in range(4)])


def test_priorities_from_minus_to_plus_a_hundred_are_served_in_their_order(project_on: Project) -> None:
    priorities = [0, -100, 100, 7, -3, 50, -50, 99, 1, -1, 25, -99]
    for priority in priorities:
        tasks.trace_line.using(priority=priority).enqueue(name=f"p{priority}")

    project_on.start_worker("-c", "1")
    wait_until_idle()

    order = [int(words[3][1:]) for words in project_on.history() if words[2] == "trace"]
    assert order == sorted(priorities, reverse=True)
