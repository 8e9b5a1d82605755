"""Tasks of Django in a real worker."""

import os

from billiard.exceptions import TimeLimitExceeded

from tests.djangos import tasks
from tests.djangos.api import TaskResultStatus
from tests.servers import wait_until
from tests.workers import Project


def test_tasks_declared_with_djangos_decorator_run_in_a_worker_which_tells_of_them(project: Project) -> None:
    plain, coroutine = tasks.add.enqueue(1, 2), tasks.add_later.enqueue(3, 4)
    again, failed = tasks.second_time.enqueue(error="at first"), tasks.steer.enqueue("fail")
    killed = tasks.over_time.enqueue(project.go)
    worker = project.start_worker()
    results = plain, coroutine, again, failed, killed
    wait_until(lambda: sum(words[2] == "finished" for words in project.history()) == 5, 30, "all have been told of")
    for result in results:
        result.refresh()

    assert [result.status for result in results] == [TaskResultStatus.SUCCESSFUL] * 3 + [TaskResultStatus.FAILED] * 2
    assert (plain.return_value, coroutine.return_value) == (3, 7)
    assert again.return_value == [2, ["builtins.LookupError"]]
    assert (again.attempts, failed.attempts, killed.attempts) == (2, 1, 1)
    assert failed.errors[0].traceback.endswith("LookupError: no such thing\n")
    assert killed.errors[0].exception_class is TimeLimitExceeded
    told = [words[1:] for words in project.history() if words[2] in ("enqueued", "started", "finished")]
    # Here, in a child, and where a child is gone, in the process that found that.
    assert {pid for pid, word, *_ in told if word == "enqueued"} == {str(os.getpid())}
    assert {pid for pid, word, *_ in told if word == "started"}.isdisjoint({str(os.getpid()), str(worker.pid)})
    assert [pid == str(worker.pid) for pid, word, job, *_ in told if (word, job) == ("finished", killed.id)] == [True]
    assert [words[1:] for words in told if words[2] == again.id] == [
        ["enqueued", again.id, "second_time", "READY", "0"], ["started", again.id, "second_time", "RUNNING", "1"],
        ["started", again.id, "second_time", "RUNNING", "2"], ["finished", again.id, "second_time", "SUCCESSFUL", "2"],
    ]  # fmt: skip
    assert ["finished", failed.id, "steer", "FAILED", "1"] in [words[1:] for words in told]
