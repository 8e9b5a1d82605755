"""The database broker, on whichever database this run has: kombu on tables, and real workers."""

import asyncio
import datetime as dt
import os
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import kombu
import pytest
from django.db import connection, connections, transaction
from django.test import override_settings
from kombu.exceptions import ChannelError

from taskyard.celery.broker import poller as poller_module
from taskyard.celery.broker import register
from taskyard.celery.broker.bindings import Bindings, does_match
from taskyard.celery.broker.models import Binding, Message
from taskyard.celery.broker.poller import poller_for
from taskyard.celery.broker.store import Store
from taskyard.celery.broker.wakeup import Notifications
from taskyard.jobs.models import Job
from taskyard.runtime.identity import worker_id
from tests import nursery, servers
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def broker() -> Iterator[None]:
    """The transport is known; no connection of a poller outlives its test."""
    register()
    yield
    poller_for("default").stop()


@pytest.fixture
def connect(broker: None) -> Iterator[Callable[[], kombu.Connection]]:
    """Opens kombu connections that are closed at the end."""
    opened: list[kombu.Connection] = []

    def open_one() -> kombu.Connection:
        opened.append(kombu.Connection("taskyard://"))
        return opened[-1]

    yield open_one
    for one in opened:
        one.release()


class Reader:
    """A consumer on a connection of its own that keeps what it gets."""

    def __init__(self, conn: kombu.Connection, *queues: kombu.Queue, prefetch: int = 0, no_ack: bool = False) -> None:
        self.conn, self.messages = conn, []
        self.channel = conn.channel()
        self.consumer = kombu.Consumer(self.channel, list(queues), on_message=self.messages.append, no_ack=no_ack)
        if prefetch:
            self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()

    def until(self, count: int, timeout: float = 10.0) -> list[Any]:
        """Drain until it has that many messages."""
        wait_until(lambda: self._drain() >= count, timeout, f"{count} messages")
        return [message.payload for message in self.messages]

    def nothing_more(self, seconds: float = 0.6) -> bool:
        """Whether nothing arrives within that time."""
        before = len(self.messages)
        try:
            self.conn.drain_events(timeout=seconds)
        except TimeoutError:
            pass
        return len(self.messages) == before

    def _drain(self) -> int:
        try:
            self.conn.drain_events(timeout=0.1)
        except TimeoutError:
            pass
        return len(self.messages)


def queue(name: str, **options: Any) -> kombu.Queue:
    return kombu.Queue(name, kombu.Exchange(""), routing_key=name, **options)


def send(conn: kombu.Connection, name: str, *bodies: Any, **options: Any) -> None:
    producer = kombu.Producer(conn.default_channel)
    for body in bodies:
        producer.publish(body, routing_key=name, declare=[queue(name)], **options)


def in_thread(action: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run it in a thread with a database connection of its own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(action())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


# ------------------------------------------------------------------------------------------------ exchanges


def test_a_fanout_reaches_every_bound_queue(connect: Any) -> None:
    exchange = kombu.Exchange("news", type="fanout", durable=False)
    readers = [Reader(connect(), kombu.Queue(f"news.{n}", exchange, auto_delete=True)) for n in range(2)]
    kombu.Producer(connect().default_channel, exchange).publish({"hello": 1})
    assert [reader.until(1) for reader in readers] == [[{"hello": 1}]] * 2


def test_a_publisher_that_declared_nothing_reaches_a_fanout(connect: Any) -> None:
    reader = Reader(connect(), kombu.Queue("news.0", kombu.Exchange("news", type="fanout"), auto_delete=True))
    kombu.Producer(connect().default_channel, auto_declare=False).publish("x", exchange="news", routing_key="")
    assert reader.until(1) == ["x"]


def test_topics_are_matched_word_by_word(connect: Any) -> None:
    exchange = kombu.Exchange("topics", type="topic")
    patterns = ["task.*", "task.#", "#", "*.failed"]
    readers = {p: Reader(connect(), kombu.Queue(f"t{n}", exchange, routing_key=p)) for n, p in enumerate(patterns)}
    producer = kombu.Producer(connect().default_channel, exchange)
    keys = ["task.sent", "task.sent.late", "job.failed", "other"]
    for key in keys:
        producer.publish(key, routing_key=key)
    for pattern, reader in readers.items():
        wanted = [key for key in keys if does_match("topic", pattern, routing_key=key)]
        assert sorted(reader.until(len(wanted))) == sorted(wanted)
        assert reader.nothing_more(0.2)
    assert [key for key in keys if does_match("topic", "task.*", routing_key=key)] == ["task.sent"]


def test_an_unroutable_message_is_dropped(connect: Any) -> None:
    kombu.Producer(connect().default_channel, kombu.Exchange("void", type="direct")).publish("x", routing_key="nobody")
    assert not Message.objects.exists()


def test_a_binding_lost_with_a_rolled_back_transaction_is_written_again(connect: Any) -> None:
    conn, bound = connect(), kombu.Queue("kept", kombu.Exchange("kept"), routing_key="kept")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        bound(conn.default_channel).declare()
        raise ZeroDivisionError
    assert not Binding.objects.exists()
    kombu.Producer(conn.default_channel).publish("x", exchange="kept", routing_key="kept")
    assert Message.objects.get().queue == "kept"


# ------------------------------------------------------------------------------------------------ queues


def test_a_simple_queue_puts_gets_counts_and_clears(connect: Any) -> None:
    simple = connect().SimpleQueue("simple")
    simple.put({"n": 1})
    simple.put({"n": 2})
    assert len(simple) == 2
    assert simple.get_nowait().payload == {"n": 1}
    message = simple.get(timeout=5)
    assert message.payload == {"n": 2}
    message.ack()
    with pytest.raises(simple.Empty):
        simple.get(timeout=0.2)
    simple.put("gone")
    simple.close()
    # It may be on its way back from the consumer that has just left.
    wait_until(lambda: simple.clear() == 1, 30, "the message to be back in the queue, and to be cleared")
    assert len(simple) == 0


def test_bytes_and_awkward_text_survive(connect: Any) -> None:
    bodies = [{"nul": "a\x00b", "lone": "\ud800", "emoji": "😀"}, b"\x00\xff raw"]
    send(connect(), "bodies", *bodies)
    reader = Reader(connect(), queue("bodies"))
    assert reader.until(1)[0] == bodies[0]
    reader.until(2)
    assert bytes(reader.messages[1].body) == bodies[1]


def test_asking_for_a_queue_nobody_declared_is_an_error(connect: Any) -> None:
    channel = connect().channel()
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("nowhere", passive=True)
    channel.queue_declare("somewhere")
    assert channel.queue_declare("somewhere", passive=True).message_count == 0
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.exchange_declare("nowhere", passive=True)


def test_a_deleted_queue_takes_its_messages_along(connect: Any) -> None:
    conn = connect()
    send(conn, "doomed", 1, 2)
    assert queue("doomed")(conn.default_channel).delete(if_empty=True) == 0
    assert queue("doomed")(conn.default_channel).delete() == 2
    assert not Message.objects.exists() and not Binding.objects.exists()


def test_urgent_messages_come_first_and_equal_ones_in_order(connect: Any) -> None:
    conn = connect()
    for number, priority in enumerate([0, 9, -5, 9, 100, 0]):
        send(conn, "prio", [priority, number], priority=priority)
    got = Reader(connect(), queue("prio"), prefetch=10).until(6)
    assert got == [[100, 4], [9, 1], [9, 3], [0, 0], [0, 5], [-5, 2]]


def test_the_prefetch_limit_holds_and_opens_with_each_acknowledgement(connect: Any) -> None:
    send(connect(), "limited", *range(5))
    reader = Reader(connect(), queue("limited"), prefetch=2)
    assert reader.until(2) == [0, 1]
    assert reader.nothing_more()
    assert Message.objects.exclude(taken_by=None).count() == 2
    reader.messages[0].ack()
    assert reader.until(3)[-1] == 2
    assert reader.nothing_more()


def test_queues_are_served_in_the_order_of_the_settings(connect: Any) -> None:
    with override_settings(TASKYARD={"QUEUES": ["urgent", "slow"]}):
        send(connect(), "slow", *range(3))
        send(connect(), "urgent", "u")
        reader = Reader(connect(), queue("slow"), queue("urgent"), prefetch=1)
        assert reader.until(1) == ["u"]


# ------------------------------------------------------------------------------------------------ who has what


def test_a_message_somebody_is_taking_is_passed_over(connect: Any) -> None:
    send(connect(), "contended", *range(3))
    has_taken, may_commit = threading.Event(), threading.Event()

    def first() -> list[int]:
        with transaction.atomic():
            taken = Store("default").take("contended", 1, owner=uuid.uuid4(), lease=60)
            has_taken.set()
            may_commit.wait(20)
        return [message.id for message in taken]

    def second() -> list[int]:
        return [message.id for message in Store("default").take("contended", 10, owner=uuid.uuid4(), lease=60)]

    one, first_ids = in_thread(first)
    assert has_taken.wait(10)
    two, second_ids = in_thread(second)
    if connection.vendor != "sqlite":
        two.join(10)  # it does not wait for the lock: the first is still inside its transaction
        assert second_ids
    may_commit.set()
    one.join(10)
    two.join(20)
    assert len(first_ids[0]) == 1 and len(second_ids[0]) == 2
    assert not set(first_ids[0]) & set(second_ids[0])


def test_two_consumers_share_a_queue_without_a_duplicate(connect: Any) -> None:
    send(connect(), "shared", *range(60))
    readers = [Reader(connect(), queue("shared"), prefetch=5) for _ in range(2)]
    seen: list[int] = []

    def turn() -> bool:
        for reader in readers:
            reader._drain()
            seen.extend(message.payload for message in reader.messages)
            for message in reader.messages:
                message.ack()
            reader.messages.clear()
        return len(seen) >= 60

    wait_until(turn, 30, "60 messages")
    assert sorted(seen) == list(range(60))
    wait_until(lambda: not Message.objects.exists(), 30, "the acknowledgements")


def test_what_is_in_hand_is_released_when_the_connection_closes(connect: Any) -> None:
    send(connect(), "given-back", "a", "b")
    first = Reader(connect(), queue("given-back"))
    first.until(1)
    first.conn.release()
    assert not Message.objects.exclude(taken_by=None).exists()
    again = Reader(connect(), queue("given-back"))
    assert again.until(2) == ["a", "b"]
    assert again.messages[0].delivery_info["redelivered"] is True


def test_a_rejected_message_is_gone_and_a_requeued_one_comes_back(connect: Any) -> None:
    send(connect(), "rejects", "drop", "again")
    reader = Reader(connect(), queue("rejects"))
    reader.until(2)
    reader.messages[0].reject()
    reader.messages[1].requeue()
    assert reader.until(3)[2] == "again"
    assert reader.messages[2].headers["x-delivery-count"] == 1
    reader.messages[2].ack()
    wait_until(lambda: not Message.objects.exists(), 30, "both to be gone")


def test_a_slow_consumer_keeps_its_message_beyond_the_lease(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "LEASE_SECONDS", 0.6)
    send(connect(), "slow", "x")
    reader = Reader(connect(), queue("slow"))
    reader.until(1)
    first = Message.objects.get().taken_until
    wait_until(lambda: Message.objects.get().taken_until > first + dt.timedelta(seconds=1), 30, "renewals")
    assert Message.objects.get().deliveries == 1
    assert reader.nothing_more(0.1)


def test_a_forked_child_does_not_give_back_what_its_parent_has(connect: Any) -> None:
    send(connect(), "forked", "x")
    reader = Reader(connect(), queue("forked"))
    reader.until(1)
    child = os.fork()
    if child == 0:
        reader.conn.collect()
        reader.channel.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert reader.nothing_more()
    assert Message.objects.get().deliveries == 1
    reader.messages[0].ack()
    wait_until(lambda: not Message.objects.exists(), 30, "the acknowledgement")


def test_a_channel_dropped_without_a_close_gives_back_what_it_had(connect: Any) -> None:
    import gc

    send(connect(), "dropped", "x")
    conn = kombu.Connection("taskyard://")
    reader = Reader(conn, queue("dropped"))
    reader.until(1)
    del reader, conn
    gc.collect()
    assert Reader(connect(), queue("dropped")).until(1) == ["x"]


def test_a_message_is_part_of_the_senders_transaction(connect: Any) -> None:
    reader, conn = Reader(connect(), queue("atomic")), connect()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send(conn, "atomic", "rolled back")
        raise ZeroDivisionError
    with transaction.atomic():
        send(conn, "atomic", "committed")
        if connection.vendor != "sqlite":
            assert reader.nothing_more(0.3)
    assert reader.until(1) == ["committed"]
    assert reader.nothing_more(0.3)


def test_an_async_sender_is_served_too(connect: Any) -> None:
    conn = connect()

    async def view() -> None:
        send(conn, "async", "from a coroutine")

    asyncio.run(view())
    assert Reader(connect(), queue("async")).until(1) == ["from a coroutine"]


# ------------------------------------------------------------------------------------------------ time


def test_expired_messages_are_neither_delivered_nor_kept(connect: Any) -> None:
    conn = connect()
    send(conn, "short", "late", expiration=0.2)
    send(conn, "ttl-unlimited", "stays")
    limited = queue("ttl", message_ttl=0.2)
    kombu.Producer(conn.default_channel).publish("late too", routing_key="ttl", declare=[limited])
    kombu.Producer(connect().default_channel).publish("from another process", routing_key="ttl")
    assert Message.objects.count() == 4
    wait_until(lambda: not Store("default").size("short") + Store("default").size("ttl"), 30, "the times to run out")
    assert Reader(connect(), queue("short"), limited).nothing_more(0.3)
    Store("default").sweep()
    assert list(Message.objects.values_list("queue", flat=True)) == ["ttl-unlimited"]


def test_the_queue_of_a_dead_consumer_is_collected_with_its_messages(connect: Any) -> None:
    conn, exchange = connect(), kombu.Exchange("replies")
    kombu.Queue("reply.dead", exchange, routing_key="dead", expires=0.3)(conn.default_channel).declare()
    kombu.Queue("for.ever", exchange, routing_key="ever")(conn.default_channel).declare()
    producer = kombu.Producer(conn.default_channel, exchange)
    producer.publish("x", routing_key="dead")
    producer.publish("y", routing_key="ever")
    wait_until(lambda: Bindings("default").sweep() == 1, 30, "the dead queue to be swept")
    assert list(Message.objects.values_list("queue", flat=True)) == ["for.ever"]
    assert set(Binding.objects.values_list("queue", flat=True)) == {"for.ever"}


def test_a_live_consumer_keeps_its_temporary_queue_even_if_somebody_deletes_it(connect: Any) -> None:
    exchange = kombu.Exchange("alive", type="fanout")
    reader = Reader(connect(), kombu.Queue("alive.0", exchange, expires=0.6, auto_delete=True))
    first = Binding.objects.get(exchange="alive").expires_at
    wait_until(lambda: Binding.objects.get(exchange="alive").expires_at > first, 30, "a renewal")
    Binding.objects.all().delete()
    wait_until(lambda: Binding.objects.filter(exchange="alive").exists(), 30, "the binding to be back")
    kombu.Producer(connect().default_channel, exchange).publish("still here")
    assert reader.until(1) == ["still here"]


def test_an_auto_delete_queue_goes_with_its_consumer(connect: Any) -> None:
    reader = Reader(connect(), kombu.Queue("brief", kombu.Exchange("brief"), routing_key="brief", auto_delete=True))
    send(connect(), "other", "x")
    reader.consumer.cancel()
    assert set(Binding.objects.values_list("queue", flat=True)) == {"other"}


# ------------------------------------------------------------------------------------------------ jobs


def queued_job(name: str = "jobs", **fields: Any) -> Job:
    now = dt.datetime.now(dt.UTC)
    return Job.objects.create(
        **{"task": "app.do", "queue": name, "state": "queued", "created_at": now, "available_at": now}
        | {"published_at": now, "publishes": 1}
        | fields
    )


def test_a_queued_job_is_delivered_as_a_thin_message_and_not_twice(connect: Any) -> None:
    job = queued_job(args=[1, 2], priority=7)
    first, second = Reader(connect(), queue("jobs")), Reader(connect(), queue("jobs"))
    wait_until(lambda: first._drain() + second._drain() == 1, 30, "the job")
    (message,) = first.messages + second.messages
    assert message.headers["id"] == str(job.id) and message.headers["task"] == "app.do"
    assert message.payload[0] == [], "arguments come with the claim"
    assert message.delivery_info["priority"] == 7
    assert first.nothing_more() and second.nothing_more()
    job.refresh_from_db()
    assert job.worker == worker_id() and job.state == "queued"
    assert not Message.objects.exists()


def test_jobs_come_by_priority_and_messages_share_the_queue(connect: Any) -> None:
    for priority in (0, 50, -50):
        queued_job(priority=priority)
    send(connect(), "jobs", "a message")
    assert connect().channel().queue_declare("jobs", passive=True).message_count == 4
    reader = Reader(connect(), queue("jobs"))
    reader.until(4)
    jobs = [message.delivery_info["priority"] for message in reader.messages if "task" in message.headers]
    assert jobs == [50, 0, -50]


def test_a_job_not_started_is_free_again_after_close_and_a_started_one_is_not(connect: Any) -> None:
    waiting, running = queued_job(), queued_job()
    reader = Reader(connect(), queue("jobs"))
    reader.until(2)
    Job.objects.filter(id=running.id).update(state="running")
    reader.conn.release()
    waiting.refresh_from_db()
    running.refresh_from_db()
    assert waiting.worker is None
    assert running.worker == worker_id()


def test_an_acknowledged_job_is_left_alone_and_makes_room(connect: Any) -> None:
    one, two = queued_job(priority=1), queued_job()
    reader = Reader(connect(), queue("jobs"), prefetch=1)
    reader.until(1)
    assert reader.nothing_more(0.3)
    Job.objects.filter(id=one.id).update(state="running")
    reader.messages[0].ack()
    reader.until(2)
    assert reader.messages[1].headers["id"] == str(two.id)
    one.refresh_from_db()
    assert one.state == "running" and one.worker == worker_id()


def test_logical_queue_names_are_translated_and_handed_over_queues_left_alone(connect: Any) -> None:
    with override_settings(TASKYARD={"QUEUES": {"medium": "prod-medium"}, "HANDOVER": ["theirs"]}):
        mine, theirs = queued_job("medium"), queued_job("theirs")
        reader = Reader(connect(), queue("prod-medium"), queue("theirs"))
        reader.until(1)
        assert reader.messages[0].headers["id"] == str(mine.id)
        assert reader.nothing_more(0.3)
        theirs.refresh_from_db()
        assert theirs.worker is None


def test_purging_the_queue_does_not_lose_jobs(connect: Any) -> None:
    job = queued_job()
    send(connect(), "jobs", "a message")
    assert queue("jobs")(connect().default_channel).purge() == 1
    assert Job.objects.filter(id=job.id, state="queued").exists()


# ------------------------------------------------------------------------------------------------ trouble


def test_an_unreadable_message_is_dropped_and_the_next_one_comes(connect: Any) -> None:
    now = dt.datetime.now(dt.UTC)
    send(connect(), "bad")
    for payload in ("{not json", "[]", '{"body": 1}'):
        Message.objects.create(queue="bad", payload=payload, created_at=now)
    send(connect(), "bad", "good")
    assert Reader(connect(), queue("bad"), no_ack=True).until(1) == ["good"]
    wait_until(lambda: not Message.objects.exists(), 30, "the unreadable ones to be gone")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL can end a session from another one")
def test_the_poller_survives_the_end_of_its_session(connect: Any) -> None:
    reader = Reader(connect(), queue("cut"))
    send(connect(), "cut", "before")
    reader.until(1)
    for n in range(2):
        end_other_sessions()
        send(connect(), "cut", n)
    assert sorted(map(str, reader.until(3))) == ["0", "1", "before"]
    reader.messages[0].ack()
    wait_until(lambda: Message.objects.count() == 2, 30, "an acknowledgement over the new session")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL can end a session from another one")
def test_a_sender_survives_the_end_of_its_session(connect: Any) -> None:
    send(connect(), "cut", "before")
    thread, _ = in_thread(end_other_sessions)
    thread.join(10)
    send(connect(), "cut", "after")
    assert Reader(connect(), queue("cut")).until(2) == ["before", "after"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="notifications are PostgreSQL's")
def test_notifications_are_listened_to(connect: Any) -> None:
    reader = Reader(connect(), queue("heard"))
    wait_until(lambda: isinstance(poller_for("default")._watch, Notifications), 30, "the poller to listen")
    send(connect(), "heard", "x")
    assert reader.until(1) == ["x"]


def end_other_sessions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


# ------------------------------------------------------------------------------------------------ processes

APP = """
import os, pathlib, time
import django
django.setup()
from taskyard.celery.broker import register
register()
import celery

app = celery.Celery("plain", broker="taskyard://", set_as_current=False)
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4)
LOG, GATE = pathlib.Path(os.environ["PLAIN_LOG"]), pathlib.Path(os.environ["PLAIN_LOG"] + ".gate")

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")

@app.task
def mark(n):
    say(f"ran {n}")

@app.task
def gated(n):
    say(f"started {n}")
    while not GATE.exists():
        time.sleep(0.02)
    say(f"ran {n}")
"""

CONSUMER = """
import django
django.setup()
from taskyard.celery.broker import register
register()
import kombu, signal
simple = kombu.Connection("taskyard://").SimpleQueue("fragile")
print(simple.get(timeout=20).payload, flush=True)
signal.pause()
"""


class Plain:
    """A plain Celery app, and workers of it in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.gate = folder / "log.gate"
        (folder / "plainapp.py").write_text(APP)
        self.app = celery.Celery("plain", broker="taskyard://", set_as_current=False)
        self.app.conf.update(task_ignore_result=True)
        self.workers: list[Any] = []

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), str(ROOT), str(ROOT / "src")])
        return {**os.environ, "PYTHONPATH": path, "PLAIN_LOG": str(self.log)} | more

    def start(self, *options: str, is_awaited: bool = True, **environment: str) -> Any:
        name = f"w{len(self.workers)}@test"
        words = ["-m", "celery", "-A", "plainapp", "worker", "-n", name, "-l", "info", *options]
        with (self.folder / f"{name}.txt").open("w") as output:
            worker = nursery.start(words, env=self.environment(**environment), cwd=self.folder, stdout=output)
        self.workers.append(worker)
        if is_awaited:
            wait_until(lambda: "ready." in self.output(name), 30, f"{name} to start")
        return worker

    def output(self, name: str = "w0@test") -> str:
        return (self.folder / f"{name}.txt").read_text()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def call(self, task: str, n: Any, **options: Any) -> Any:
        return self.app.send_task(f"plainapp.{task}", [n], **options)

    def stop(self) -> None:
        self.gate.touch()
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        self.app.close()


@pytest.fixture
def plain(broker: None, tmp_path: Path) -> Iterator[Plain]:
    one = Plain(tmp_path)
    yield one
    one.stop()


def test_tasks_of_a_plain_app_run_and_remote_control_works(plain: Plain) -> None:
    plain.start("-c", "2")
    for n in range(20):
        plain.call("mark", n)
    wait_until(lambda: len(plain.lines()) == 20, 20, "20 tasks")
    assert sorted(plain.lines()) == sorted(f"ran {n}" for n in range(20))
    control = plain.app.control
    assert control.ping(timeout=10, limit=1) == [{"w0@test": {"ok": "pong"}}]
    queues = control.inspect(timeout=10, limit=1).active_queues()
    assert [entry["name"] for entry in queues["w0@test"]] == ["celery"]
    wait_until(lambda: not Message.objects.filter(queue="celery").exists(), 30, "the acknowledgements")


def test_a_revoked_task_does_not_run(plain: Plain) -> None:
    plain.start("-c", "1")
    plain.call("gated", 0)
    wait_until(lambda: plain.lines() == ["started 0"], 20, "the first task")
    doomed = plain.call("mark", "doomed")
    plain.app.control.revoke(doomed.id)
    plain.call("mark", "after")
    wait_until(lambda: "Tasks flagged as revoked" in plain.output(), 30, "the worker to hear of it")
    plain.gate.touch()
    wait_until(lambda: "ran after" in plain.lines(), 20, "the rest")
    assert "ran doomed" not in plain.lines()


def test_events_reach_a_receiver_in_another_process(plain: Plain) -> None:
    plain.start("-c", "1", "-E")
    seen: list[str] = []
    ready = threading.Event()

    def watch() -> None:
        with plain.app.connection() as conn:
            receiver = plain.app.events.Receiver(conn, handlers={"*": lambda event: seen.append(event["type"])})
            receiver.on_consume_ready = lambda *args, **kwargs: ready.set()
            for _ in receiver.itercapture(limit=None, timeout=20, wakeup=False):
                if "task-succeeded" in seen:
                    return

    thread, _ = in_thread(watch)
    assert ready.wait(10)
    # A worker remembers for a second who wants events.
    wait_until(lambda: plain.call("mark", 1) and "task-succeeded" in seen, 20, "the events")
    thread.join(20)
    assert {"task-received", "task-started", "task-succeeded"} <= set(seen)


def test_a_message_of_a_killed_consumer_comes_again_with_its_count(plain: Plain, connect: Any) -> None:
    connect().SimpleQueue("fragile").put("x")
    victim = subprocess.Popen(
        [sys.executable, "-c", CONSUMER], env=plain.environment(), stdout=subprocess.PIPE, text=True
    )
    assert victim.stdout is not None
    assert select.select([victim.stdout], [], [], 20)[0], "the consumer got nothing"
    assert victim.stdout.readline().strip() == "x"
    victim.kill()
    victim.wait()
    victim.stdout.close()
    reader = Reader(connect(), queue("fragile"))
    assert reader.until(1, timeout=poller_module.LEASE_SECONDS + 2) == ["x"]
    assert reader.messages[0].delivery_info["redelivered"] is True
    assert reader.messages[0].headers["x-delivery-count"] == 1


def test_a_killed_worker_loses_no_task(plain: Plain) -> None:
    worker = plain.start("-c", "1")
    for n in range(4):
        plain.call("gated", n)
    wait_until(lambda: plain.lines() == ["started 0"], 20, "the first task")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    plain.gate.touch()
    plain.start("-c", "1")
    wait_until(lambda: {f"ran {n}" for n in range(4)} <= set(plain.lines()), 20, "all four")


def test_a_warm_shutdown_finishes_what_runs_and_returns_the_rest(plain: Plain) -> None:
    worker = plain.start("-c", "1")
    for n in range(4):
        plain.call("gated", n)
    wait_until(lambda: plain.lines() == ["started 0"], 20, "the first task")
    wait_until(lambda: Message.objects.exclude(taken_by=None).count() == 4, 30, "the prefetch")
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in plain.output(), 30, "the shutdown to begin")
    plain.gate.touch()
    assert worker.wait(20) == 0
    ran = [line for line in plain.lines() if line.startswith("ran")]
    left = Message.objects.filter(queue="celery")
    assert ran and len(ran) + left.count() == 4
    assert not left.exclude(taken_by=None).exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL can end a session from another one")
def test_a_worker_survives_the_end_of_all_its_sessions(plain: Plain) -> None:
    worker = plain.start("-c", "1")
    end_other_sessions()
    plain.call("mark", "after")
    wait_until(lambda: plain.lines() == ["ran after"], 20, "a task after the cut")
    assert plain.app.control.ping(timeout=10, limit=1) == [{"w0@test": {"ok": "pong"}}]
    assert worker.poll() is None


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PgBouncer is for PostgreSQL")
def test_behind_a_transaction_pooler_the_worker_polls_and_everything_works(plain: Plain, tmp_path: Path) -> None:
    address = servers.url("postgres")
    assert address is not None
    with servers.pgbouncer(address) as bouncer:
        (tmp_path / "pooled.py").write_text(
            "from tests import servers\nfrom tests.settings import *\n"
            "DATABASES['default']['DISABLE_SERVER_SIDE_CURSORS'] = True\n"
            f"DATABASES['default'] |= {{'HOST': '127.0.0.1', 'PORT': {bouncer.port}}}\n"
        )
        worker = plain.start("-c", "1", DJANGO_SETTINGS_MODULE="pooled")
        wait_until(lambda: "polling instead of listening" in plain.output(), 30, "the pooler to be noticed")
        for n in range(5):
            plain.call("mark", n)
        wait_until(lambda: len(plain.lines()) == 5, 20, "five tasks")
        assert plain.app.control.ping(timeout=10, limit=1) == [{"w0@test": {"ok": "pong"}}]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0


def test_missing_tables_are_named_with_the_remedy(plain: Plain, tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(
        "from tests.settings import *\n"
        f"DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': '{tmp_path}/bare.db'}}}}\n"
    )
    worker = plain.start("-c", "1", is_awaited=False, DJANGO_SETTINGS_MODULE="bare")
    assert worker.wait(30) != 0
    assert "run `manage.py migrate`" in plain.output()
