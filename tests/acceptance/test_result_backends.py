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
