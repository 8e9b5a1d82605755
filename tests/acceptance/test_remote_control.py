"""What Flower and ``celery inspect`` do to a worker, asked by a plain Celery app that knows nothing of Taskyard."""

from collections.abc import Iterator
from typing import Any

import celery
import pytest

from tests.app import tasks
from tests.brokers import events_of, outside
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle


@pytest.fixture
def outsider(project_on: Project) -> Iterator[celery.Celery]:
    """The workers greet each other, as they do by default."""
    project_on.mingles = True
    with outside(project_on.broker_url) as app:
        yield app


def only(replies: Any) -> Any:
    """The answer of the one worker there is."""
    assert replies is not None
    [answer] = replies.values() if isinstance(replies, dict) else [next(iter(reply.values())) for reply in replies]
    return answer


def test_a_worker_can_be_inspected_and_its_events_followed(project_on: Project, outsider: celery.Celery) -> None:
    worker = project_on.start_worker("-E", "-c", "2")
    inspect = outsider.control.inspect(timeout=5, limit=1)
    assert only(outsider.control.ping(timeout=5, limit=1)) == {"ok": "pong"}
    assert [queue["name"] for queue in only(inspect.active_queues())] == ["celery"]
    stats = only(inspect.stats())
    assert stats["pid"] == worker.pid
    assert stats["pool"]["max-concurrency"] == 2
    assert "app.note" in only(inspect.registered())

    with events_of(outsider) as seen:
        held = tasks.hold.enqueue(path=project_on.go)
        wait_for_state(held.id, "running")
        [active] = only(inspect.active())
        assert (active["id"], active["name"], active["acknowledged"]) == (str(held.id), "app.hold", False)
        assert only(inspect.reserved()) == []
        failing = tasks.boom.delay()
        wait_for_state(failing.id, "failed")
        project_on.release()
        wait_until_idle()

        def kinds(job_id: object) -> list[str]:
            return [event["type"] for event in list(seen) if event.get("uuid") == str(job_id)]

        wait_until(lambda: {"task-succeeded"} <= set(kinds(held.id)), 30, "the events of the success")
        wait_until(lambda: {"task-failed"} <= set(kinds(failing.id)), 30, "the events of the failure")
    for job_id, end in ((held.id, "task-succeeded"), (failing.id, "task-failed")):
        assert [kind for kind in kinds(job_id) if kind != "task-sent"] == ["task-received", "task-started", end]
    [received] = [e for e in seen if e["type"] == "task-received" and e["uuid"] == str(held.id)]
    assert received["name"] == "app.hold"
    [failed] = [e for e in seen if e["type"] == "task-failed"]
    assert "boom" in failed["exception"]
    assert only(inspect.active()) == []


def test_a_revoked_job_never_runs_and_a_terminated_one_ends(project_on: Project, outsider: celery.Celery) -> None:
    worker = project_on.start_worker("-c", "1")
    running = tasks.hold.enqueue(path=project_on.go + ".never")
    wait_for_state(running.id, "running")
    # One stands in the broker's window behind it, one in the table; each is revoked from another side.
    by_outsider, by_project, runs = (tasks.hold.enqueue(path=project_on.go) for _ in range(3))
    outsider.control.revoke(str(by_outsider.id))
    project_on.run_python(
        f"from taskyard.celery.application import get_app; get_app().control.revoke('{by_project.id}')"
    )
    for job in (by_outsider, by_project):
        assert wait_for_state(job.id, "cancelled").error["reason"] == "revoked"

    outsider.control.revoke(str(running.id), terminate=True, signal="SIGKILL")
    ended = wait_for_state(running.id, "cancelled")
    assert ended.finished_at is not None
    wait_for_state(runs.id, "running")
    assert worker.process.poll() is None

    # What a worker remembers ends with it; what the row says does not.
    worker.kill_group()
    project_on.release()
    project_on.taskyard = {"WORKER_TIMEOUT": {"seconds": 1}, "HEARTBEAT": {"seconds": 0.3}}
    project_on.start_worker("-c", "1")
    wait_for_state(runs.id, "succeeded", 60)
    wait_until_idle()
    for job in (by_outsider, by_project):
        assert project_on.started(job.id) == 0
    assert project_on.started(running.id) == 1


def test_a_rate_limit_holds(project_on: Project, outsider: celery.Celery) -> None:
    project_on.start_worker("-c", "2")
    answer = only(outsider.control.rate_limit("app.trace_line", "3/s", reply=True, timeout=5, limit=1))
    assert answer == {"ok": "new rate limit set successfully"}

    for n in range(6):
        tasks.trace_line.enqueue(name=str(n))
    wait_until_idle()

    times = sorted(float(words[0]) for words in project_on.history() if words[2] == "trace")
    assert len(times) == 6
    # Six at three a second: a first one at once, five thirds of a second after it; some early ones are tolerated.
    assert times[-1] - times[0] >= 1.0
