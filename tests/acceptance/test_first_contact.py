"""A job's way through the real thing, on each broker."""

from tests.app import tasks
from tests.workers import Project, wait_for_state


def test_a_job_enqueued_before_the_worker_starts_runs_and_leaves_its_result(project_on: Project) -> None:
    job = tasks.note.enqueue(text="hello")
    # As a user's worker starts; the others of the tests leave the checks out.
    project_on.checks = True
    project_on.start_worker()

    done = wait_for_state(job.id, "succeeded")

    assert done.result == {"success": True, "text": "hello"}
    assert done.attempt == 1
    assert [words[2] for words in project_on.history()] == ["start", "end"]
