"""Messages of programs without Taskyard, while a project moves over."""

from celery import Celery as PlainCelery

from taskyard.models import Job
from tests.app import tasks
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


def test_what_was_handed_over_to_others_is_not_adopted_when_their_queue_is_taken_over(
    project: Project, redis_url: str
) -> None:
    project.broker_url = redis_url
    project.taskyard = {"HANDOVER": ["celery"], "ADOPT_FOREIGN": True}
    job = tasks.nothing.enqueue(n=1)
    feeding = project.start_worker("-Q", "elsewhere")
    wait_for_state(job.id, "succeeded")
    feeding.kill_group()
    project.taskyard = {"ADOPT_FOREIGN": True}
    project.start_worker()
    plain = PlainCelery("plain", broker=redis_url, set_as_current=False)
    behind_it = plain.send_task("tests.app.tasks.add", (3, 4))
    plain.close()

    wait_until(lambda: _exists(behind_it.id), 20, "the message is a row")
    assert wait_for_state(behind_it.id, "succeeded").result == 7
    job.refresh_from_db()
    assert (job.state, job.attempt, Job.objects.count()) == ("succeeded", 0, 2)


def _exists(job_id: str) -> bool:
    return Job.objects.filter(id=job_id).exists()
