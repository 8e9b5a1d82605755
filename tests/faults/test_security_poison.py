"""What is no message at all, what is far larger than it looks, and whatever else a fuzzer thinks of: workers live."""

import json
import random
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
import redis
from celery.concurrency.solo import TaskPool
from celery.worker import state
from kombu.asynchronous.timer import Timer
from kombu.transport.virtual import Channel, Message

from taskyard.celery import get_app
from taskyard.celery.signing import Verifier
from taskyard.celery.worker import consumer as consumer_module
from taskyard.celery.worker.consumer import Consumer
from taskyard.jobs.models import Job
from taskyard.settings import SigningKey
from tests import servers
from tests.app import tasks
from tests.brokers import channel_of
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state

BODY = '[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
BOMB_BYTES = 300_000_000
ENVELOPE = {
    "body": BODY, "content-type": "application/json", "content-encoding": "utf-8", "headers": {},
    "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "celery"}},
}  # fmt: skip
DEEP = "[" * 200_000 + "]" * 200_000
#: What LPUSH can put into a list that workers read.
FRAMES = {
    "not JSON": "not json",
    "nothing": "",
    "undecodable bytes": b"\xff\xfe\x00\x81",
    "a string": '"hello"',
    "a number": "7",
    "null": "null",
    "a list": "[1, 2, 3]",
    "an empty envelope": "{}",
    "properties that are null": json.dumps({**ENVELOPE, "properties": None}),
    "properties that are a list": json.dumps({**ENVELOPE, "properties": []}),
    "no delivery tag": json.dumps({**ENVELOPE, "properties": {"delivery_info": {}}}),
    "a delivery tag that is a list": json.dumps({**ENVELOPE, "properties": {"delivery_tag": [1], "delivery_info": {}}}),
    "no delivery info": json.dumps({**ENVELOPE, "properties": {"delivery_tag": "2"}}),
    "headers that are a list": json.dumps({**ENVELOPE, "headers": [1]}),
    "headers that are a string": json.dumps({**ENVELOPE, "headers": "task"}),
    "a body that is a number": json.dumps({**ENVELOPE, "body": 7}),
    "a body that is no base64": json.dumps(
        {**ENVELOPE, "body": "§", "properties": {**ENVELOPE["properties"], "body_encoding": "base64"}}
    ),
    "an encoding nobody knows": json.dumps(
        {**ENVELOPE, "properties": {**ENVELOPE["properties"], "body_encoding": "rot13"}}
    ),
    "a compression that is a list": json.dumps({**ENVELOPE, "headers": {"compression": [1]}}),
    "200,000 brackets": DEEP,
    "200,000 brackets in the headers": json.dumps(ENVELOPE).replace('"headers": {}', f'"headers": {{"x": {DEEP}}}'),
    "200,000 brackets in the body": json.dumps({**ENVELOPE, "body": DEEP, "headers": {"task": "app.note", "id": "x"}}),
    "a number of 100,000 digits": json.dumps(ENVELOPE).replace('"headers": {}', f'"headers": {{"x": {"9" * 100_000}}}'),
}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_is_no_message_at_all_is_logged_and_the_worker_lives(pool: str, project: Project, redis_url: str) -> None:
    project.broker_url = redis_url
    worker = project.start_worker("-c", "1", "-P", pool)
    with redis.Redis.from_url(redis_url) as client:
        for frame in FRAMES.values():
            client.lpush("celery", frame)
            client.publish("/0.celery.pidbox", frame)
            client.publish("/0.celeryev/worker.heartbeat", frame)

    job = tasks.note.enqueue(text="after it")
    assert wait_for_state(job.id, "succeeded", 60).attempt == 1
    wait_until(lambda: worker.output().count("Message dropped") >= len(FRAMES) - 2, 30, "they are in the log")
    last = tasks.note.enqueue(text="last")
    wait_for_state(last.id, "succeeded", 60)
    said = worker.output()
    assert worker.process.poll() is None
    assert said.count(" ready.") == 1, "its consumer has not even restarted"
    assert "Unrecoverable" not in said
    assert max(map(len, said.splitlines())) < 4096 + 1000


def memory_of(worker: WorkerProcess, word: str = "VmHWM") -> int:
    """The most memory its main process ever had, in bytes."""
    for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines():
        if line.startswith(word):
            return int(line.split()[1]) * 1024
    raise AssertionError(word)


def test_a_compressed_message_that_becomes_huge_is_not_inflated(project_on: Project) -> None:
    worker = project_on.start_worker("-c", "1")
    bomb = zlib.compress(b"[[" + b" " * BOMB_BYTES + b"], {}, {}]", 9)
    assert len(bomb) < 300_000
    before = memory_of(worker)
    headers = {"taskyard": 1, "task": "app.nothing", "id": str(uuid.uuid4()), "lang": "py"}
    properties = {"content_type": "application/json", "content_encoding": "utf-8"}
    with channel_of(project_on) as channel:
        queue = kombu.Queue("celery", kombu.Exchange("celery"), routing_key="celery")
        queue(channel).declare()
        producer = kombu.Producer(channel, exchange=queue.exchange, routing_key="celery", auto_declare=False)
        for kind in ("application/x-gzip", "gzip"):
            producer.publish(bomb, headers={**headers, "compression": kind}, **properties)
        # A compressed one of an honest size is read as before.
        small = zlib.compress(BODY.encode())
        producer.publish(small, headers={**headers, "compression": "gzip"}, **properties)

    wait_until(lambda: worker.output().count("larger than 16,777,216 bytes") == 2, 60, "they are dropped")
    wait_until(lambda: f"message of job {headers['id']} dropped" in worker.output(), 60, "the small one was read")
    assert memory_of(worker) - before < 100_000_000
    assert worker.process.poll() is None


def test_values_nested_too_deep_and_results_too_large_end_their_job_and_not_the_worker(project_on: Project) -> None:
    project_on.taskyard = {"MAX_RESULT_BYTES": 10_000}
    worker = project_on.start_worker("-c", "1")
    said = project_on.run_python(
        "from tests.app import tasks\n"
        "deep = []\n"
        "for _ in range(9_000): deep = [deep]\n"
        "for value in (deep, 'x' * 20_000):\n"
        "    print(tasks.remember.delay(value).id)\n"
    )
    too_deep, too_large = said.split()
    for job_id, error in ((too_deep, "RecursionError"), (too_large, "EncodeError")):
        ended = wait_for_state(job_id, lambda state: state in ("failed", "succeeded"), 60)
        assert ended.state == "failed" or error == "RecursionError"
    assert "the limit is 10,000" in Job.objects.get(id=too_large).error["message"]
    last = tasks.note.enqueue(text="last")
    assert wait_for_state(last.id, "succeeded", 60).attempt == 1
    assert worker.process.poll() is None


@pytest.mark.verify
def test_a_message_over_rabbitmqs_limit_holds_up_nothing(project: Project) -> None:
    """Arguments never travel, so that only queues of other programs can meet the limit."""
    with servers.private_rabbitmq() as server:
        server.control("eval", "application:set_env(rabbit, max_message_size, 65536).")
        project.broker_url = server.url
        project.taskyard = {"HANDOVER": ["theirs"]}
        project.start_worker("-c", "1")
        large = tasks.answer.enqueue(value="x" * 100_000)
        too_large = project.run_python(
            "from tests.app import tasks\n"
            "print(tasks.answer.using(queue_name='theirs').enqueue(value='x' * 100_000).id)"
        ).split()[0]
        assert wait_for_state(large.id, "succeeded", 60).result == "x" * 100_000
        assert Job.objects.get(id=too_large).state in ("pending", "queued")


class Sink:
    """Stands where the pool would; counts what reached it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def __call__(self, request: Any) -> None:
        self.requests.append(request)


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The consumer's handler with nothing around it: messages in, requests out."""
    app, sink, unknown = get_app(), Sink(), Sink()
    monkeypatch.setattr(consumer_module, "settler", lambda: SimpleNamespace(submit=unknown))
    controller, pool = SimpleNamespace(use_eventloop=False, state=state), TaskPool(app=app)
    consumer = Consumer(sink, app=app, hostname="fuzzed@host", controller=controller, pool=pool, timer=Timer())
    consumer.disable_rate_limits = True
    consumer.event_dispatcher = app.events.Dispatcher(enabled=False)
    consumer.update_strategies()
    consumer.call_soon = consumer.call_soon_ack = lambda call, *args, **kwargs: None
    yield consumer.create_task_handler(), consumer, sink
    state.reserved_requests.clear()
    state.requests.clear()


class NullChannel(Channel):
    """Decodes like any virtual channel, and acknowledges into nothing."""

    def __init__(self) -> None:
        self.no_ack_consumers: set[str] = set()
        self.codecs = dict(Channel.codecs)

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:
        pass

    def basic_reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        pass


def any_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128)))


def strange(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, odd ones more often."""
    kind = rng.randrange(11 if depth < 3 else 8)
    match kind:
        case 0:
            return None
        case 1:
            return rng.choice([True, False, 0, 1, -1, 2**63, -(2**70), 1e308, -0.0, float("nan"), float("inf")])
        case 2 | 3:
            return rng.choice(
                ["", "x", "app.note", "app.nothing", "app.say_untracked", "celery.chord", "taskyard.call_errback", "py",
                 "gzip", "x-strange", "\x00", "\r\n\x1b[31m", "\ud800", "9" * 5000, any_id(rng),
                 "2030-01-01T00:00:00+00:00", "1.1.1..1", "{}", "../../etc/passwd", "'; DROP TABLE x; --", "%s%n"]
            )  # fmt: skip
        case 4:
            return rng.randbytes(rng.randrange(40)).decode("latin-1")
        case 5:
            return BODY
        case 6:
            return rng.randrange(-(2**40), 2**40)
        case 7:
            return rng.random()
        case 8 | 9:
            return [strange(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {str(strange(rng, 3)): strange(rng, depth + 1) for _ in range(rng.randrange(4))}


NAMES = [
    "task", "id", "root_id", "parent_id", "timelimit", "retries", "eta", "expires", "taskyard", "taskyard_tenant",
    "taskyard_signature", "compression", "shadow", "argsrepr", "kwargsrepr", "stamps", "stamped_headers", "group",
    "origin", "ignore_result", "lang", "headers", "delivery_info", "x-death",
]  # fmt: skip


def poisoned(rng: random.Random) -> Any:
    """A raw message with a few things wrong, sometimes all of them."""
    raw = json.loads(json.dumps(ENVELOPE))
    raw["headers"] = {"taskyard": 1, "task": "app.nothing", "lang": "py", "id": any_id(rng),
                      "timelimit": [None, None], "root_id": None}  # fmt: skip
    for _ in range(rng.choice([1, 1, 2, 3, 6])):
        where = rng.randrange(5)
        if where <= 1 and isinstance(raw["headers"], dict):
            raw["headers"][rng.choice(NAMES)] = strange(rng)
        elif where == 2:
            raw["body"] = rng.choice([strange(rng), json.dumps(strange(rng))])
        elif where == 3:
            raw[rng.choice(["content-type", "content-encoding", "headers"])] = strange(rng)
        else:
            raw["properties"][rng.choice(["correlation_id", "reply_to", "priority", "delivery_info"])] = strange(rng)
    return raw


def fuzz(handler: Any, seed: int, count: int) -> None:
    handle, consumer, _ = handler
    channel, deep = NullChannel(), 0
    for number in range(seed, seed + count):
        raw = poisoned(random.Random(number))
        try:
            message = Message(raw, channel=channel)
            # As kombu's virtual channels read them before they hand a message over.
            assert message.delivery_info["exchange"] is not message.delivery_info["routing_key"]
        except Exception:  # before the handler: the transport's guard, tested above
            deep += 1
            continue
        message.accept = {"application/json"}
        try:
            if message.errors:
                message._reraise_error(consumer.on_decode_error)
            else:
                handle(message)
        except Exception as error:
            raise AssertionError(f"seed {number} stops a worker: {raw!r}") from error
    assert deep < count / 2


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    caplog.handler.setLevel("CRITICAL")


def test_no_input_makes_the_handler_raise(handler: Any, quiet: None) -> None:
    fuzz(handler, seed=random.randrange(10**9), count=2_000)

    assert handler[2].requests, "some of it is good enough to be looked up"


def test_no_unsigned_input_makes_a_verifying_handler_raise_or_passes_it(
    handler: Any, quiet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier = Verifier([SigningKey(b"k" * 32)])
    monkeypatch.setattr(consumer_module, "verifier_for", lambda url: verifier)
    _, consumer, sink = handler
    fuzz((consumer.create_task_handler(), consumer, sink), seed=random.randrange(10**9), count=2_000)

    assert sink.requests == []


@pytest.mark.verify
@pytest.mark.timeout(1200)
def test_no_input_of_a_hundred_thousand_makes_the_handler_raise(handler: Any, quiet: None) -> None:
    fuzz(handler, seed=1, count=100_000)
