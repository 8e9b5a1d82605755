"""Flower, unchanged, beside our workers: what it shows and what it may do."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import nursery
from tests.app import tasks
from tests.servers import wait_until
from tests.servers.process import free_port
from tests.workers import ROOT, Project, wait_for_state


def test_flower_shows_workers_and_tasks_and_its_revoke_sticks(project_on: Project) -> None:
    project_on.start_worker("-E", "-c", "1")
    with flower(project_on) as api:
        wait_until(lambda: len(api("workers?refresh=1")) == 1, 40, "Flower knows the worker")
        good, bad = tasks.add.delay(1, 2), tasks.boom.delay()
        wait_for_state(bad.id, "failed")
        wait_until(lambda: api("tasks").get(good.id, {}).get("state") == "SUCCESS", 20, "Flower shows the success")
        wait_until(lambda: api("tasks").get(bad.id, {}).get("state") == "FAILURE", 20, "Flower shows the failure")
        assert api("tasks")[good.id]["name"] == "tests.app.tasks.add"

        blocker = tasks.hold.delay(project_on.go)
        wait_for_state(blocker.id, "running")
        waiting = tasks.add.delay(3, 4)
        api(f"task/revoke/{waiting.id}", method="POST")
        wait_for_state(waiting.id, "cancelled")
        project_on.release()
        wait_for_state(blocker.id, "succeeded")


@contextmanager
def flower(project: Project) -> Iterator[Any]:
    """Flower on a port of its own; gives a function that asks its API."""
    port = free_port()
    environment = {**project.environment(), "FLOWER_UNAUTHENTICATED_API": "true"}
    words = ["-m", "celery", "-A", "taskyard", "flower", "--address=127.0.0.1", f"--port={port}"]
    with Path(os.devnull).open("wb") as nothing:
        process = nursery.start(words, env=environment, cwd=ROOT, stdout=nothing)

    def api(path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{path}", method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def answers() -> bool:
        try:
            api("workers")
        except OSError:
            return False
        return True

    try:
        wait_until(answers, 40, "Flower answers")
        yield api
    finally:
        process.kill()
        process.wait(10)
