"""One contestant on its own fresh servers: its producer, its workers, and what they wrote."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from bench import processes
from bench.contestants import Contestant
from bench.work import STAMP
from tests import servers

ROOT = Path(__file__).resolve().parent.parent
#: How often the file of bytes is looked at.
LOOK_SECONDS = 0.002
#: Without a single new byte for this long, a contestant is given up.
PATIENCE_SECONDS = 90.0
STOP_SECONDS = 20.0


class Unable(Exception):
    """A contestant that cannot run here; says why."""


class Stuck(Exception):
    """A contestant that stopped getting on with its jobs."""


class NoAnswer(Exception):
    """A producer that was still at it when its time was over."""


class Theatre:
    """The servers of a whole run: a private Redis, a virtual host of RabbitMQ, and databases on PostgreSQL."""

    def __init__(self, *, is_quick: bool = False) -> None:
        self.is_quick = is_quick
        self.stack = ExitStack()
        self.redis: Any = None
        self.amqp_url = ""
        #: A server of its own instead of a database on the machine's.
        self.postgres_url = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def broker_url(self, kind: str) -> str:
        if kind == "redis":
            if self.redis is None:
                self.redis = self.stack.enter_context(servers.private_redis())
            return str(self.redis.url)
        if kind == "rabbitmq":
            self.amqp_url = self.amqp_url or self.stack.enter_context(servers.fresh_vhost())
            return self.amqp_url
        return ""

    @contextmanager
    def own_postgres(self) -> Iterator[None]:
        """Stages in this block have a PostgreSQL as it is shipped; whoever set the machine's up may have turned
        autovacuum off."""
        with servers.private_postgres() as server:
            self.postgres_url = server.url
            try:
                yield
            finally:
                self.postgres_url = ""

    def _database(self, contestant: Contestant) -> AbstractContextManager[str]:
        if not contestant.database:
            return nullcontext("")
        return nullcontext(self.postgres_url) if self.postgres_url else servers.fresh_database("postgres")

    @contextmanager
    def stage(self, contestant: Contestant, **taskyard: Any) -> Iterator["Stage"]:
        """Everything fresh; everything gone afterwards."""
        with ExitStack() as stack:
            broker = self.broker_url(contestant.broker)
            stack.callback(self.clean_broker, contestant)
            database = stack.enter_context(self._database(contestant))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskyard-bench-", dir="/tmp")))
            made = Stage(contestant, folder, broker, database, taskyard)
            stack.callback(made.close)
            made.is_quick = self.is_quick
            made.set_up()
            yield made

    def clean_broker(self, contestant: Contestant) -> None:
        if contestant.broker == "redis":
            self.redis.start().flush()
        elif contestant.broker == "rabbitmq":
            delete_queues(self.amqp_url, contestant.queues)


class Stage:
    def __init__(
        self, contestant: Contestant, folder: Path, broker: str, database: str, taskyard: dict[str, Any]
    ) -> None:
        self.contestant = contestant
        self.folder = folder
        self.database = database
        self.is_quick = False
        self.workers: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            **servers.environment(),
            "PYTHONPATH": str(ROOT),
            "BENCH_MODULE": f"bench.contestants.{contestant.module}",
            "BENCH_VARIANT": contestant.variant,
            "BENCH_SETTINGS": json.dumps(contestant.settings),
            "BENCH_TASKYARD": json.dumps(taskyard),
            "BENCH_BROKER_URL": broker,
            "BENCH_DATABASE_URL": database,
            "BENCH_BYTES": str(folder / "bytes"),
            "BENCH_STAMPS": str(folder / "stamps"),
            "BENCH_MARKS": str(folder / "marks"),
        }
        # Whoever has no Django must not be given one: Celery takes part in it as soon as this variable is there.
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        if contestant.uses_django:
            self.environment["DJANGO_SETTINGS_MODULE"] = "bench.settings"
        self.producer = self.start_producer()

    # the producer

    def start_producer(self) -> subprocess.Popen[str]:
        with (self.folder / "producer.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.producer"], env=self.environment, cwd=ROOT, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip

    def set_up(self) -> None:
        reason = self.ask("missing")
        if reason:
            raise Unable(reason)
        self.ask("set_up")
        self.checkpoint()

    def checkpoint(self) -> None:
        """So that writing back what was done before is not part of what is measured."""
        if self.database and not self.is_quick:
            self.sql("CHECKPOINT")

    def replace_producer(self) -> None:
        """End one that does not answer."""
        self.end_producer()
        self.producer = self.start_producer()
        self.ask("missing")

    def end_producer(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.producer.pid, signal.SIGKILL)
        self.producer.wait(10)
        for pipe in (self.producer.stdin, self.producer.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def ask(self, verb: str, **values: Any) -> Any:
        """Have the producer do something, and wait for its answer."""
        self.tell(verb, **values)
        return self.answer()

    def tell(self, verb: str, **values: Any) -> None:
        assert self.producer.stdin is not None
        self.producer.stdin.write(json.dumps({"do": verb, **values}) + "\n")
        self.producer.stdin.flush()

    def answer(self, timeout: float | None = None) -> Any:
        assert self.producer.stdout is not None
        if timeout is not None and not select.select([self.producer.stdout], [], [], timeout)[0]:
            raise NoAnswer
        line = self.producer.stdout.readline()
        if not line:
            raise Stuck(f"{self.contestant.name}: its producer ended\n{self.logs()}")
        return json.loads(line)

    def fill(self, task: str, count: int) -> dict[str, Any]:
        """A backlog in the contestant's own store, and fresh statistics for every database alike."""
        filled: dict[str, Any] = self.ask("fill", task=task, count=count)
        if self.database:
            self.sql("ANALYZE")
            self.checkpoint()
        return filled

    # the workers

    def start_workers(self, *, ready: bool = False) -> None:
        """Start them all at once; with ``ready``, wait until a job has run."""
        for command in self.contestant.workers:
            self.start_worker(command)
        if ready:
            self.ask("send", task="append", value=0)
            self.wait(1)

    def start_worker(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        name = f"worker-{len(self.workers)}"
        with (self.folder / f"{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                [word.replace("{name}", name) for word in command], env=self.environment, cwd=ROOT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.workers.append(worker)
        return worker

    def stop_workers(self) -> None:
        for worker in self.workers:
            if worker.poll() is None and not self.is_quick:
                worker.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + (0 if self.is_quick else STOP_SECONDS)
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(10)
        self.workers = []

    def is_deserted(self) -> bool:
        return bool(self.workers) and all(worker.poll() is not None for worker in self.workers)

    def usage(self) -> processes.Usage:
        """What the workers, with all their children, used so far."""
        return processes.usage(self.worker_pids())

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.worker_pids())

    def worker_pids(self) -> list[int]:
        return [worker.pid for worker in self.workers]

    # what they did

    @property
    def bytes_file(self) -> Path:
        return self.folder / "bytes"

    @property
    def stamps_file(self) -> Path:
        return self.folder / "stamps"

    def done(self) -> int:
        try:
            return self.bytes_file.stat().st_size
        except FileNotFoundError:
            return 0

    def wait(self, count: int) -> int:
        """Until that many bytes are written; the moment it was seen, in monotonic nanoseconds."""
        seen, since = self.done(), time.monotonic()
        while seen < count:
            time.sleep(LOOK_SECONDS)
            now_seen = self.done()
            if now_seen > seen:
                seen, since = now_seen, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS or self.is_deserted():
                raise Stuck(f"{self.contestant.name}: {seen} of {count} jobs done\n{self.logs()}")
        return time.monotonic_ns()

    def wait_for(self, is_true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_true():
            if time.monotonic() > deadline:
                raise Stuck(f"{self.contestant.name}: waited in vain for {what}\n{self.logs()}")
            time.sleep(LOOK_SECONDS)

    def forget(self) -> None:
        """What was written so far does not count any more."""
        for file in (self.bytes_file, self.stamps_file):
            file.unlink(missing_ok=True)

    def stamps(self) -> list[tuple[int, int]]:
        """Of every job of the task ``stamp``: when it was sent, when it started; nanoseconds."""
        try:
            return list(STAMP.iter_unpack(self.stamps_file.read_bytes()))
        except FileNotFoundError:
            return []

    def marks(self) -> list[tuple[int, int]]:
        """Of every start of the task ``hold``: when, and in which process."""
        try:
            lines = (self.folder / "marks").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(moment), int(pid)) for moment, pid in map(str.split, lines)]

    def logs(self) -> str:
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in self.folder.glob("*.log"))

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self.stop_workers()
        self.end_producer()


def delete_queues(url: str, names: tuple[str, ...]) -> None:
    from amqp import Connection

    parts = urlsplit(url)
    with Connection(
        host=f"{parts.hostname}:{parts.port or 5672}", userid=parts.username, password=parts.password,
        virtual_host=unquote(parts.path[1:]) or "/",
    ) as connection:  # fmt: skip
        for name in names:
            connection.channel().queue_delete(name)
