"""Whatever somebody puts into a queue, the worker lives, runs the next job, and logs no more than 4 KiB of it."""

import json
import uuid
from typing import Any

import kombu

from taskyard.celery.broker import URL, register
from taskyard.celery.broker.poller import poller_for
from taskyard.jobs.models import Job
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

BODY = '[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
OURS: dict[str, Any] = {"taskyard": 1, "task": "app.nothing", "lang": "py", "timelimit": [None, None]}
#: Two of them still fit the frame RabbitMQ takes headers in (131,064 bytes): more closes the sender's connection.
BIG = "x" * 60_000


def ours(**changes: Any) -> dict[str, Any]:
    """Headers as the feeder makes them, but for a few."""
    headers = {**OURS, "id": str(uuid.uuid4()), "root_id": str(uuid.uuid4()), **changes}
    return {key: value for key, value in headers.items() if value != "gone"}


#: What it is: body, headers, and properties of the message.
SHAPES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "a JSON string as body": ('"hello"', {}, {}),
    "a JSON number as body": ("7", {}, {}),
    "null as body": ("null", {}, {}),
    "an empty body": ("", {}, {}),
    "a JSON list as body": ("[1, 2, 3]", {}, {}),
    "not JSON": ("{]", {}, {}),
    "undecodable bytes": (b"\xff\xfe\x00\x81", {}, {}),
    "a foreign message of protocol 1": (
        json.dumps({"task": "app.nothing", "id": "x", "args": [], "kwargs": {}}),
        {},
        {},
    ),
    "a foreign message of protocol 2": (BODY, {"task": "app.note", "id": str(uuid.uuid4()), "lang": "py"}, {}),
    "a foreign message of an unknown task": (BODY, {"task": "evil.task", "id": str(uuid.uuid4()), "lang": "py"}, {}),
    "our header and nothing else": (BODY, {"taskyard": 1}, {}),
    "no id": (BODY, ours(id="gone"), {}),
    "an id that is a number": (BODY, ours(id=7), {}),
    "an id that is a list": (BODY, ours(id=["a"]), {}),
    "an id that is null": (BODY, ours(id=None), {}),
    "an id that is no UUID and no job's": (BODY, ours(id="report-17"), {}),
    "no task": (BODY, ours(task="gone"), {}),
    "a task that is a number": (BODY, ours(task=7), {}),
    "a task that is a list": (BODY, ours(task=["app.nothing"]), {}),
    "a task that is null": (BODY, ours(task=None), {}),
    "time limits that are words": (BODY, ours(timelimit=["soon", "later"]), {}),
    "a time limit that is one number": (BODY, ours(timelimit=5), {}),
    "three time limits": (BODY, ours(timelimit=[1, 2, 3]), {}),
    "an eta that is no time": (BODY, ours(eta="tomorrow"), {}),
    "an expiry that is a list": (BODY, ours(expires=[1]), {}),
    "retries that are a word": (BODY, ours(retries="many"), {}),
    "a body of the wrong shape": ("[1]", ours(), {}),
    "a body that is a string": ('"hello"', ours(), {}),
    "our header and no row": (BODY, ours(), {}),
    "our header, no row and an unknown task": (BODY, ours(task="evil.task"), {}),
    "an unknown content type": (BODY, ours(), {"content_type": "application/x-strange"}),
    "pickle": (b"\x80\x04N.", ours(), {"content_type": "application/x-python-serialize", "content_encoding": "binary"}),
    "an unknown encoding": (BODY.encode(), ours(), {"content_encoding": "utf-99"}),
    "our header and a huge id": (BODY, ours(id=BIG), {}),
    "our header and a huge unknown task": (BODY, ours(task=BIG), {}),
    "infinite time limits": (BODY, ours(timelimit=[1e308, -1]), {}),
    "very much": (json.dumps(BIG), {"task": "evil.task", "id": BIG, "lang": "py"}, {}),
    "very much under our header": (json.dumps([BIG]), ours(argsrepr=BIG, timelimit=BIG), {}),
}


def publish(project: Project, shapes: dict[str, tuple[Any, Any, dict[str, Any]]]) -> None:
    """Put them into the queue as they are."""
    register()
    with kombu.Connection(project.broker_url or URL) as connection:
        producer = kombu.Producer(connection.channel(), auto_declare=False)
        queue = kombu.Queue("celery", kombu.Exchange("celery"), routing_key="celery")
        queue.bind(connection.channel()).declare()
        for body, headers, properties in shapes.values():
            options = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
            producer.publish(body, exchange="celery", routing_key="celery", headers=headers, **options)
    if not project.broker_url:
        poller_for("default").flush()
        poller_for("default").stop()


def test_no_message_stops_a_worker(project_on: Project) -> None:
    worker = project_on.start_worker("-c", "1")
    before = len(worker.output())
    publish(project_on, SHAPES)

    jobs = [tasks.note.enqueue(text=str(n)) for n in range(3)]
    for job in jobs:
        assert wait_for_state(job.id, "succeeded", 60).attempt == 1
    wait_until(lambda: worker.output().count("Message dropped") >= 25, 60, "what is dropped is logged")
    last = tasks.note.enqueue(text="last")
    wait_for_state(last.id, "succeeded", 60)

    assert worker.process.poll() is None
    said = worker.output()[before:]
    # The worker has not restarted its consumer either, and nothing of what came was taken for a job.
    assert said.count("ready.") <= 1
    assert "Unrecoverable error" not in said
    assert Job.objects.count() == 4
    assert {words[3] for words in project_on.history()} == {str(job.id) for job in [*jobs, last]}
    # What it held, at most 4 KiB of it, and why it was dropped.
    assert max(len(line) for line in said.splitlines()) < 4096 + 1000


def test_a_task_unknown_here_goes_back_and_another_worker_runs_it(project_on: Project) -> None:
    code = "import taskyard\nfrom taskyard import task\n@task(name='app.only_later')\ndef only_later(): return 'ran'\n"
    said = project_on.run_python(code + "print(only_later.enqueue().id)")
    job_id = uuid.UUID(said.strip().splitlines()[-1])
    old = project_on.start_worker("-c", "1")
    wait_until(lambda: "app.only_later" in old.output() and "not known" in old.output(), 60, "it meets an old worker")
    back = wait_for_state(job_id, "pending", 60)
    assert back.attempt == 0
    assert old.process.poll() is None
    other = tasks.note.enqueue(text="still runs")
    wait_for_state(other.id, "succeeded", 60)
    old.stop()

    Job.objects.filter(id=job_id).update(task="app.nothing")
    project_on.start_worker("-c", "1")

    assert wait_for_state(job_id, "succeeded", 60).attempt == 1
    wait_until_idle()
