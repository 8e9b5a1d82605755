"""Event streams of progress on real servers: one that waits in threads (WSGI) and one that awaits (ASGI)."""

import datetime as dt
import http.client
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import uvicorn
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test import Client, RequestFactory, override_settings
from django.utils import timezone

from taskyard.integrations.progress import stream, watcher
from taskyard.integrations.progress.access import Subject, sign
from taskyard.integrations.progress.views import events_view
from taskyard.jobs.models import Job
from tests.integration.shelf import put
from tests.servers import wait_until
from tests.servers.process import free_port

pytestmark = pytest.mark.django_db(transaction=True)

#: A stream that is collected before it is sent says nothing before its end, which is later than this.
PATIENCE_SECONDS = 20


class Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: the output is of the tests."""


@contextmanager
def wsgi() -> Iterator[int]:
    django = get_wsgi_application()

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        # The handler of wsgiref does not know that its server has threads.
        return django({**environ, "wsgi.multithread": True}, start_response)

    server = make_server("127.0.0.1", 0, application, server_class=Threads, handler_class=Silent)
    # A thread whose reader has gone writes once more; that is no news.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def asgi() -> Iterator[int]:
    port = free_port()
    config = uvicorn.Config(get_asgi_application(), port=port, lifespan="off", ws="none", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 30, "the server")
    yield port
    server.should_exit = True
    thread.join()


KINDS: dict[str, Callable[[], Any]] = {"wsgi": wsgi, "asgi": asgi}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def port(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server; streams end later than anybody waits here, and a reader that is gone is noticed soon."""
    monkeypatch.setattr(stream, "LENGTH", {"wsgi": dt.timedelta(minutes=9), "asgi": dt.timedelta(minutes=9)})
    monkeypatch.setattr(stream, "HEARTBEAT", dt.timedelta(milliseconds=200))
    monkeypatch.setattr(watcher, "EVERY_SECONDS", 0.05)
    with KINDS[kind]() as port:
        yield port
        wait_until(lambda: watcher.watcher().streams == 0, 30, "all streams are closed")
        wait_until(lambda: "taskyard-watcher" not in {one.name for one in threading.enumerate()}, 30, "nobody looks")


class Reader:
    """An EventSource, as far as these tests need one."""

    def __init__(self, port: int, *jobs: str, last_id: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        query = "&".join(f"job={job}" for job in jobs)
        self.connection.request(
            "GET", f"/taskyard/progress/events/?{query}", headers={"Last-Event-ID": last_id} if last_id else {}
        )
        self.answer = self.connection.getresponse()
        self.last_id = ""

    def lines(self) -> Iterator[str]:
        while line := self.answer.readline():
            yield line.decode().rstrip("\n")

    def event(self) -> tuple[str, Any]:
        """The next one: its kind and its data; ``("", None)`` at the end of the stream."""
        kind, data = "", None
        for line in self.lines():
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
            elif not line and kind:
                return kind, data
        return "", None

    def job(self) -> dict[str, Any]:
        kind, data = self.event()
        assert kind == "progress"
        [job] = data["jobs"]
        return dict(job)

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@contextmanager
def reading(port: int, *jobs: str, last_id: str = "") -> Iterator[Reader]:
    reader = Reader(port, *jobs, last_id=last_id)
    try:
        yield reader
    finally:
        reader.close()


def running(current: float = 0.0) -> tuple[Job, str]:
    now = timezone.now()
    job = put(
        now, state="running", attempt=1, started_at=now, progress_current=current, progress_total=100.0, progress_at=now
    )
    return job, sign(Subject(job.id))


def move(job: Job, **values: Any) -> None:
    Job.objects.filter(id=job.id).update(progress_at=timezone.now(), **values)


def test_a_stream_tells_at_once_then_each_change_then_the_end(port: int) -> None:
    job, link = running(10)
    with reading(port, link) as reader:
        assert reader.answer.status == 200
        assert reader.answer.headers["Content-Type"] == "text/event-stream"
        assert reader.job()["percent"] == 10
        move(job, progress_current=35)
        assert reader.job()["says"].startswith("35 of 100 (35 %)")
        move(job, state="succeeded", finished_at=timezone.now())
        assert reader.job()["words"] == "done"
        assert reader.event() == ("end", {})
        assert reader.event() == ("", None)


def test_a_reader_that_comes_back_is_told_only_what_it_does_not_know(port: int) -> None:
    job, link = running(10)
    with reading(port, link) as reader:
        reader.job()
    with reading(port, link, last_id=reader.last_id) as again:
        for line in again.lines():
            # Time passes, and nothing is repeated.
            assert not line.startswith("data")
            if line == ": still here":
                break
        move(job, progress_current=20)
        assert again.job()["current"] == 20
    move(job, state="failed", finished_at=timezone.now())
    with reading(port, link, last_id=again.last_id) as third:
        assert third.job()["state"] == "failed"
        assert third.event()[0] == "end"
    with reading(port, link, last_id=third.last_id) as fourth:
        # Ends an EventSource for good.
        assert fourth.answer.status == 204


def test_one_stream_tells_of_all_jobs_of_a_page(port: int) -> None:
    (first, one), (_, two) = running(1), running(2)
    with reading(port, one, two) as reader:
        assert [job["current"] for job in reader.event()[1]["jobs"]] == [1, 2]
        move(first, progress_current=3)
        assert reader.job()["job"] == one
        move(first, state="succeeded", finished_at=timezone.now())
        assert reader.job()["is_final"]
        # The other one goes on.
        assert reader.answer.readline() != b""


def test_streams_are_bounded_and_a_reader_that_went_away_makes_room(kind: str, port: int) -> None:
    _, link = running()
    name = {"wsgi": "PROGRESS_STREAMS_WSGI", "asgi": "PROGRESS_STREAMS"}[kind]
    with override_settings(TASKYARD={name: 1}):
        with reading(port, link) as reader:
            reader.job()
            with reading(port, link) as second:
                assert (second.answer.status, second.answer.headers["Retry-After"]) == (429, "60")
        wait_until(lambda: watcher.watcher().streams == 0, 30, "the place of the first one")
        with reading(port, link) as third:
            assert third.answer.status == 200


def test_a_viewer_has_as_many_streams_as_a_browser_opens(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MOST_PER_VIEWER", 1)
    (_, one), (_, two) = running(), running()
    with reading(port, one) as reader:
        reader.job()
        with reading(port, one) as again:
            assert again.answer.status == 429
        with reading(port, two) as another:
            assert another.answer.status == 200


def test_a_stream_ends_after_its_time_and_says_when_to_come_back(
    port: int, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setitem(stream.LENGTH, kind, dt.timedelta(milliseconds=500))
    _, link = running()
    with reading(port, link) as reader:
        lines = list(reader.lines())
    assert lines[0] == "retry: 1000"
    assert "event: end" not in lines


@pytest.mark.skipif(connection.vendor != "postgresql", reason="asks PostgreSQL for its connections")
def test_all_streams_of_a_process_look_through_one_connection(port: int) -> None:
    links = [running()[1] for _ in range(5)]
    with override_settings(TASKYARD={"PROGRESS_STREAMS_WSGI": 10}):
        readers = [Reader(port, link) for link in links]
        for reader in readers:
            reader.job()

        def others() -> int:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )
                return int(cursor.fetchone()[0])

        wait_until(lambda: others() == 1, 30, "one connection")
        for reader in readers:
            reader.close()


def test_what_there_is_not_and_what_one_may_not_see_is_404(port: int) -> None:
    job, _ = running()
    with reading(port, str(job.id)) as reader:
        assert reader.answer.status == 404


def test_a_process_with_a_single_thread_serves_no_streams() -> None:
    request = RequestFactory().get("/", {"job": running()[1]}, **{"wsgi.multithread": False})
    assert events_view(request).status_code == 429
    assert watcher.watcher().streams == 0


@override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"])
def test_a_stream_is_not_compressed_because_that_would_hold_it_up() -> None:
    _, link = running()
    client = Client(headers={"Accept-Encoding": "gzip"}, **{"wsgi.multithread": True})
    answer = client.get("/taskyard/progress/events/", {"job": link})
    assert watcher.watcher().streams == 1
    assert answer.headers["Content-Encoding"] == "identity"
    answer.close()
    assert watcher.watcher().streams == 0
