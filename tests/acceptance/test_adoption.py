"""Messages of programs without Taskyard, while a project moves over."""

from celery import Celery as PlainCelery

from taskyard.models import Job
from tests.servers import wait_until
from tests.workers import Project, wait_for_state


def test_a_foreign_message_becomes_a_job_only_where_the_project_asks_for_it(project: Project, redis_url: str) -> None:
    project.broker_url = redis_url
    plain = PlainCelery("plain", broker=redis_url, set_as_current=False)
    worker = project.start_worker()

    plain.send_task("tests.app.tasks.add", (1, 2), task_id="refused")
    wait_until(lambda: "no job stands behind it" in worker.output(), 20, "the message is dropped")
    worker.kill_group()
    assert not Job.objects.exists()
    project.taskyard = {"ADOPT_FOREIGN": True}
    project.start_worker()
    adopted = plain.send_task("tests.app.tasks.add", (3, 4))
    plain.close()

    wait_until(lambda: _exists(adopted.id), 20, "the message is a row")
    assert wait_for_state(adopted.id, "succeeded").result == 7


def _exists(job_id: str) -> bool:
    return Job.objects.filter(id=job_id).exists()
