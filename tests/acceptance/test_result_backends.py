"""Result backends that are not ours are left alone, and the row tells the truth all the same."""

import pytest

from tests.app import tasks
from tests.workers import Project, wait_for_state


@pytest.mark.parametrize("kind", ["redis", "disabled"])
def test_with_another_result_backend_the_rows_states_are_right(project: Project, redis_url: str, kind: str) -> None:
    project.celery = {"RESULT_BACKEND": redis_url if kind == "redis" else "disabled://"}
    project.start_worker()

    good, bad = tasks.add.delay(1, 2), tasks.boom.apply_async(link_error=[tasks.errback.s()])
    again = tasks.retries.delay(1)

    assert wait_for_state(good.id, "succeeded").attempt == 1
    failed = wait_for_state(bad.id, "failed")
    assert failed.error["type"] == "RuntimeError"
    assert wait_for_state(again.id, "succeeded").attempt == 2
    if kind == "redis":
        answer = project.run_python(
            "from celery.result import AsyncResult\nfrom taskyard.celery import get_app\n"
            f"print(AsyncResult({good.id!r}, app=get_app()).get(timeout=20))"
        )
        assert answer.strip() == "3"


WAIT_FOR_A_GROUP = """
import sys, threading
from pathlib import Path
from celery import group
from tests.app.tasks import add, hold
result = group(hold.s(sys.argv[1]), group(add.s(1, 2), hold.s(sys.argv[1]))).apply_async()
threading.Timer(0.5, Path(sys.argv[1]).touch).start()
print(result.get(timeout=30))
"""


def test_waiting_for_a_group_on_a_redis_backend_hears_of_members_that_end_meanwhile(
    project: Project, redis_url: str
) -> None:
    project.celery = {"RESULT_BACKEND": redis_url}
    project.start_worker()

    # No subscription is made when the group is sent, so the wait must make them all.
    answer = project.run_python(WAIT_FOR_A_GROUP.replace("sys.argv[1]", repr(project.go)))

    assert answer.strip() == "['released', 3, 'released']"
