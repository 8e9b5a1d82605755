"""What a running job reports reaches its row."""

from typing import Any

import pytest

from taskyard import current_job, task


@task
def report_while_the_scribe_is_slow() -> None:
    job = current_job()
    job.progress(7, 9, "nearly there")
    # The scribe's first half; its second half, the statement, comes too late: the settle is faster.
    job.take_dirty()


@pytest.mark.django_db(transaction=True)
def test_a_report_that_is_being_written_when_the_body_ends_is_not_lost(monkeypatch: Any) -> None:
    monkeypatch.setattr("django.conf.settings.CELERY_TASK_ALWAYS_EAGER", True, raising=False)
    job = report_while_the_scribe_is_slow.enqueue()

    job.refresh_from_db()

    assert (job.progress_current, job.progress_total, job.progress_message) == (7, 9, "nearly there")
