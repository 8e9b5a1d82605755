"""Errors a task expects (Celery's ``throws``, ``errors={...}``), and those whose class cannot be pickled."""

import logging
from typing import Any

import pytest
from celery import shared_task

from taskyard import task
from taskyard.models import Job
from taskyard.testing import run_jobs

pytestmark = pytest.mark.django_db


class Closed(Exception):
    """The shop is closed."""


class Overdrawn(Exception):
    """Its arguments are not its ``args``: what pickle would make it from."""

    def __init__(self, needed: int, have: int) -> None:
        self.missing = needed - have
        super().__init__(f"{self.missing} missing")


class Unforeseen(Overdrawn):
    """Nobody declared it, and nobody can pickle it."""


ERRORS: dict[str, Any] = {
    "Closed": lambda: Closed("until nine"), "Overdrawn": lambda: Overdrawn(5, 2), "Unforeseen": lambda: KeyError("x"),
}  # fmt: skip


@task(name="app.expects", errors={Closed: 409, Overdrawn: 402})
def expects(how: str) -> None:
    raise ERRORS[how]()


@shared_task(name="app.throws", throws=(Closed, Overdrawn))
def throws(how: str) -> None:
    raise ERRORS[how]()


@task(name="app.does_not_expect")
def does_not_expect() -> None:
    raise Unforeseen(5, 2)


@task(name="app.reports_failure")
def reports_failure() -> dict[str, Any]:
    return {"success": False, "error": "no funds", "missing": 3}


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, bool]]:
    """Levels of what is said of errors, and whether with a traceback."""
    said = [one for one in caplog.records if one.name == "celery.app.trace" and "raised" in one.getMessage()]
    return [(one.levelname, bool(one.exc_info or one.exc_text)) for one in said]


@pytest.mark.parametrize("how", ["Closed", "Overdrawn"])
@pytest.mark.parametrize("enqueue", [expects.enqueue, throws.delay])
def test_an_expected_error_is_one_line_without_a_traceback(
    enqueue: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(how)
    with caplog.at_level(logging.INFO):
        run_jobs(raise_errors=False)
    assert logged(caplog) == [("INFO", False)]
    assert f"raised expected: {how}(" in caplog.text
    assert "Traceback" not in caplog.text
    # The row says all of it.
    job = Job.objects.get()
    assert job.error["type"] == f"{__name__}.{how}"
    assert "raise ERRORS[how]()" in job.attempts.get().traceback


def test_where_info_is_not_logged_nothing_is(caplog: pytest.LogCaptureFixture) -> None:
    expects.enqueue("Overdrawn")
    with caplog.at_level(logging.WARNING, logger="celery.app.trace"):
        run_jobs(raise_errors=False)
    assert logged(caplog) == []


@pytest.mark.parametrize("enqueue", [lambda: expects.enqueue("Unforeseen"), does_not_expect.enqueue])
def test_any_other_error_is_an_error_with_its_traceback(enqueue: Any, caplog: pytest.LogCaptureFixture) -> None:
    enqueue()
    with caplog.at_level(logging.INFO):
        run_jobs(raise_errors=False)
    assert logged(caplog) == [("ERROR", True)]


def test_an_error_that_cannot_be_pickled_is_stored_as_what_it_is() -> None:
    does_not_expect.enqueue()
    run_jobs(raise_errors=False)
    error = Job.objects.get().error
    assert (error["type"], error["message"]) == (f"{__name__}.Unforeseen", "3 missing")


def test_it_reaches_whoever_runs_the_job_in_this_process(settings: Any) -> None:
    does_not_expect.enqueue()
    with pytest.raises(Unforeseen) as raised:
        run_jobs()
    assert raised.value.missing == 3
    settings.CELERY_TASK_ALWAYS_EAGER = settings.CELERY_TASK_EAGER_PROPAGATES = True
    with pytest.raises(Unforeseen):
        does_not_expect.enqueue()


def test_a_reported_failure_keeps_its_answer() -> None:
    reports_failure.enqueue()
    run_jobs(raise_errors=False)
    job = Job.objects.get()
    assert (job.state, job.error["message"]) == ("failed", "no funds")
    assert job.result == {"success": False, "error": "no funds", "missing": 3}
