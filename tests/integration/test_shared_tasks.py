"""``@shared_task`` in a project that has no Celery app of its own."""

from tests.workers import Project

WEB_REQUEST = """
from concurrent.futures import ThreadPoolExecutor
from tests.app.tasks import add
from taskyard.models import Job

# A web server serves requests in threads other than the one that set Django up.
result = ThreadPoolExecutor(1).submit(add.delay, 1, 2).result()
print(Job.objects.filter(id=result.id).count(), type(add.app).__module__)
"""


def test_a_shared_task_called_before_anything_else_of_taskyard_becomes_a_row(project: Project) -> None:
    assert project.run_python(WEB_REQUEST).split() == ["1", "taskyard.celery.application"]
