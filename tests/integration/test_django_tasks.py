"""Django's tasks as jobs: what is written, how it is read back, who is told."""

import datetime as dt
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from taskyard import RetryPolicy, enqueue_many
from taskyard.backend import TaskyardBackend, TaskyardTask
from taskyard.errors import DuplicateJob, JobCancelled, NotJson
from taskyard.execution import steering
from taskyard.models import Job
from taskyard.schedules import Every, Schedule, schedule
from taskyard.schedules.sources import code
from taskyard.tasks import registry
from taskyard.tenancy.context import tenant_context
from tests.djangos import tasks
from tests.djangos.api import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    default_task_backend,
    task,
    task_enqueued,
    task_finished,
    task_started,
)

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent
BACKEND = "taskyard.backend.TaskyardBackend"


@pytest.fixture
def eager(settings: Any) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = True


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, str]]]:
    """What observers were told: signal, id, status."""
    heard: list[tuple[str, str, str]] = []
    names = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}

    def hear(signal: Any, sender: Any, task_result: Any, **_: Any) -> None:
        assert issubclass(sender, TaskyardBackend)
        heard.append((names[signal], task_result.id, task_result.status))

    for signal in names:
        signal.connect(hear)
    yield heard
    for signal in names:
        signal.disconnect(hear)


def test_a_call_is_a_row_of_the_callers_transaction() -> None:
    at = timezone.now() + dt.timedelta(hours=1)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.add.enqueue(1, 2)
        raise ZeroDivisionError
    result = tasks.add.using(priority=-7, queue_name="documents", run_after=at).enqueue(1, y=2)

    job = Job.objects.get()
    assert (str(job.id), job.task) == (result.id, "tests.djangos.tasks.add")
    assert (job.args, job.kwargs, job.priority, job.queue) == ([1], {"y": 2}, -7, "documents")
    assert (job.available_at, job.created_at) == (at, result.enqueued_at)
    assert (result.status, result.attempts, result.started_at) == (TaskResultStatus.READY, 0, None)
    assert tasks.add.get_result(result.id) == result


def test_options_of_the_declaration_and_of_the_call_are_ours() -> None:
    job = Job.objects.get(id=tasks.second_time.using(tenant="acme", tags=("a", "b"), created_by="ada").enqueue().id)
    declared = registry.get("tests.djangos.tasks.second_time")

    assert (job.max_attempts, job.time_limit, job.tenant) == (2, 300, "acme")
    assert (job.tags, job.created_by) == (["a", "b"], "ada")
    assert (declared.options.retry, str(declared.signature)) == (
        tasks.SOON,
        "(error: str = 'once') -> list[typing.Any]",
    )
    assert Job.objects.get(id=tasks.for_customer.enqueue("globex").id).tenant == "globex"


def test_a_key_that_is_held_answers_with_the_job_that_holds_it(told: list[Any]) -> None:
    first = tasks.once.enqueue("a")
    second = tasks.once.enqueue("a", note="again")

    assert (second.id, second.args, Job.objects.count()) == (first.id, ["a"], 1)
    assert [signal for signal, *_ in told] == ["enqueued"]


def test_what_a_task_does_not_take_is_refused_with_its_name() -> None:
    with pytest.raises(NotJson, match=r"argument 'y' .*Unsupported type"):
        tasks.add.enqueue(1, y={2})
    with pytest.raises(TypeError, match=r"add\(x: float, y: float\) -> float: missing a required argument: 'y'"):
        tasks.add.enqueue(1)
    assert not Job.objects.exists()


@pytest.mark.usefixtures("eager")
def test_a_job_that_ran_is_a_result_that_is_finished(told: list[Any]) -> None:
    result = tasks.add.enqueue(1, 2)

    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert result.worker_ids == [str(Job.objects.get().worker)]
    assert told == [("enqueued", result.id, "READY"), ("started", result.id, "RUNNING"),
                    ("finished", result.id, "SUCCESSFUL")]  # fmt: skip
    again = tasks.add.get_result(result.id)
    assert (again, again.return_value) == (result, 3)


@pytest.mark.usefixtures("eager")
def test_coroutines_context_and_steering_are_at_home_here() -> None:
    assert tasks.add_later.enqueue(1, 2).return_value == 3
    said = tasks.who.enqueue()
    assert said.return_value == [said.id, 1, said.id]
    assert tasks.steer.enqueue("as json").return_value == ["as json", "bytes"]
    snoozed = tasks.steer.enqueue("snooze")
    snoozed.refresh()
    assert (snoozed.status, snoozed.errors) == (TaskResultStatus.READY, [])


@pytest.mark.usefixtures("eager")
def test_an_attempt_that_failed_is_an_error_of_a_result_that_succeeds(told: list[Any]) -> None:
    result = tasks.second_time.enqueue()

    assert result.return_value == [2, ["builtins.LookupError"]]
    assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.SUCCESSFUL, 2, 1)
    assert result.errors[0].exception_class is LookupError
    assert result.errors[0].traceback.endswith("LookupError: once\n")
    assert result.started_at < result.last_attempted_at
    assert [signal for signal, *_ in told] == ["enqueued", "started", "started", "finished"]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("how", "kind", "ends_with"),
    [
        ("fail", LookupError, "LookupError: no such thing\n"),
        ("exit", SystemExit, "SystemExit: enough\n"),
        ("not json", TypeError, "TypeError: Unsupported type: <class 'set'>\n"),
        ("discard", JobCancelled, "taskyard.errors.JobCancelled: not worth it\n"),
    ],
)
def test_whatever_ends_a_job_badly_is_a_failure_with_its_error(
    how: str, kind: type[BaseException], ends_with: str, told: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        result = tasks.steer.enqueue(how)

    assert (result.status, result.is_finished, len(result.errors)) == (TaskResultStatus.FAILED, True, 1)
    assert result.errors[0].exception_class is kind
    assert result.errors[0].traceback.endswith(ends_with)
    assert told[-1] == ("finished", result.id, "FAILED")
    logged = [record for record in caplog.records if record.name in ("django.tasks", "django_tasks")]
    assert [result.id in record.getMessage() for record in logged] == [True]
    assert how == "discard" or (logged[0].exc_info and logged[0].exc_info[0] is kind)


def test_a_job_that_was_cancelled_before_it_began_failed_with_that_error() -> None:
    result = tasks.add.enqueue(1, 2)
    steering.cancel([Job.objects.get().id], timezone.now())

    result.refresh()
    assert (result.status, result.attempts, result.finished_at) == (
        TaskResultStatus.FAILED,
        0,
        Job.objects.get().finished_at,
    )
    assert [one.exception_class for one in result.errors] == [JobCancelled]


@pytest.mark.parametrize("stored", ["WorkerLost", "TimeLimitExceeded", "Retry", "Reject", "Ignore", "NobodyKnows"])
def test_a_name_that_is_stored_without_its_module_is_a_class_all_the_same(stored: str) -> None:
    result = tasks.add.enqueue(1, 2)
    job = Job.objects.get()
    job.attempts.create(number=1, error_type=stored, error_message="words", ended_at=timezone.now())
    Job.objects.update(state="failed", attempt=1)

    result.refresh()
    assert result.errors[0].exception_class.__name__.startswith("Exception" if stored == "NobodyKnows" else stored)
    assert (result.errors[0].traceback.endswith(": words\n"), result.worker_ids) == (True, [""])


@pytest.mark.parametrize(
    ("state", "attempt", "status"),
    [("pending", 0, "READY"), ("queued", 0, "READY"), ("retrying", 1, "READY"), ("running", 1, "RUNNING"),
     ("waiting", 1, "RUNNING"), ("succeeded", 1, "SUCCESSFUL"), ("failed", 1, "FAILED"), ("cancelled", 0, "FAILED")],
)  # fmt: skip
def test_every_state_has_a_status(state: str, attempt: int, status: str) -> None:
    result = tasks.add.enqueue(1, 2)
    Job.objects.update(state=state, attempt=attempt, started_at=timezone.now())

    result.refresh()
    assert result.status == status


def test_a_result_is_found_by_its_task_alone_and_by_its_tenant() -> None:
    from tests.app import tasks as ours

    result = tasks.add.enqueue(1, 2)
    with pytest.raises(TaskResultMismatch):
        tasks.add_later.get_result(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        tasks.add.get_result("of nobody")
    with pytest.raises(TaskResultDoesNotExist, match=r"'app\.nothing', which is no task of Django's here"):
        default_task_backend.get_result(str(ours.nothing.enqueue().id))
    with override_settings(TASKYARD={"TENANCY": "rows"}):
        with tenant_context("acme"), pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(result.id)
        assert tasks.add.get_result(result.id) == result


def test_async_callers_have_all_of_it() -> None:
    async def call() -> Any:
        result = await tasks.add.aenqueue(1, 2)
        await result.arefresh()
        return result, await tasks.add.aget_result(result.id)

    result, again = async_to_sync(call)()
    assert (result, result.id) == (again, str(Job.objects.get().id))


@pytest.mark.usefixtures("eager")
def test_jobs_that_others_enqueue_run_as_the_same_task(told: list[Any]) -> None:
    job = registry.get("tests.djangos.tasks.who").enqueue()

    assert Job.objects.get().result == [str(job.id), 1, str(job.id)]
    assert [signal for signal, *_ in told] == ["started", "finished"]
    assert tasks.who.get_result(str(job.id)).return_value[1] == 1


@pytest.mark.usefixtures("eager")
def test_our_own_ways_to_enqueue_take_its_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    code.declared()  # what modules declare when they are imported
    monkeypatch.setattr(code, "_declared", {})
    assert enqueue_many(tasks.add.declared, [{"x": 1, "y": 2}, {"x": 3, "y": 4}]).created == 2
    assert (tasks.add.declared.s(1, 2) | tasks.add.declared.s(4)).delay().get(timeout=1) == 7
    assert schedule(Every(dt.timedelta(hours=1)))(tasks.who) is tasks.who
    code.sync()
    Schedule.objects.get(name="tests.djangos.tasks.who").run_now()
    assert tasks.who.get_result(str(Job.objects.get(task="tests.djangos.tasks.who").id)).attempts == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retry": 3}, "Task 'tests.integration.test_django_tasks._undeclared': retry must be a RetryPolicy, not 3"),
        ({"time_limit": 5}, "time_limit must be a timedelta, not 5"),
        ({"unique": "colour"}, "unique names 'colour', which is not a parameter of the function"),
        ({"tenant_scope": "all"}, "tenant_scope must be one of any, tenant, public, not 'all'"),
    ],
)
def test_a_declaration_that_cannot_work_says_why(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidTask, match=problem):
        TaskyardTask(func=_undeclared, **WORDS, **options)
    assert registry.find("tests.integration.test_django_tasks._undeclared") is None


def _undeclared(shape: str) -> None:
    """No test makes a task of it."""


WORDS: dict[str, Any] = {
    "priority": 0, "queue_name": "default", "backend": "default", "run_after": None, "takes_context": False,
}  # fmt: skip


def test_a_word_that_is_no_option_is_refused_with_the_near_one() -> None:
    with pytest.raises(TypeError, match=r"@task has no option 'retyr'\. Did you mean 'retry'\?"):
        TaskyardTask(func=_undeclared, **WORDS, retyr=None)
    with pytest.raises(TypeError, match=r"using\(\) has no option 'retry'\. Known: backend, created_by, .*"):
        tasks.add.using(retry=RetryPolicy())


def test_a_task_that_is_declared_for_another_backend_is_refused() -> None:
    settings = {
        "default": {"BACKEND": f"{task.__module__.rpartition('.')[0]}.backends.dummy.DummyBackend", "QUEUES": []},
        "ours": {"BACKEND": BACKEND, "QUEUES": []},
    }
    with override_settings(TASKS=settings):
        theirs = task(_undeclared_for_others)
        sys.modules[__name__].__dict__["_undeclared_for_others"] = theirs
        with pytest.raises(InvalidTask, match=r"is declared for TASKS\['default'\] \(DummyBackend\), so that our"):
            theirs.using(backend="ours")


def _undeclared_for_others() -> None:
    """Declared by one test."""


def test_options_of_an_alias_are_those_of_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", {})
    monkeypatch.setattr(registry, "_observers", [])
    options = {"time_limit": dt.timedelta(minutes=3), "on_duplicate": "raise"}
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": options}}):
        tasks.once.enqueue("a")
        with pytest.raises(DuplicateJob):
            tasks.once.enqueue("a")
    assert Job.objects.get().time_limit == 180


@pytest.mark.parametrize(
    ("tasks_setting", "more", "says"),
    [
        (
            {"OPTIONS": {"time_limit": 3}},
            {},
            "E052) TASKS['default']['OPTIONS']: time_limit must be a timedelta, not 3",
        ),
        ({"OPTIONS": {"unique": "a"}}, {}, "E052) TASKS['default']['OPTIONS'] has no option 'unique'"),
        ({"QUEUES": ["default", "fast"]}, {"TASKYARD": {"QUEUES": ["slow"]}}, "W051) TASKS['default']['QUEUES'] names"),
    ],
)
def test_checks_say_what_cannot_work(tasks_setting: dict[str, Any], more: dict[str, Any], says: str) -> None:
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, **tasks_setting}}, **more):
        with pytest.raises(SystemCheckError) as caught:
            call_command("check", fail_level="WARNING")
    assert says in str(caught.value)


EARLY = """
from tests.djangos.api import task

@task(time_limit=__import__("datetime").timedelta(minutes=1))
def declared_early(context):
    pass
"""
IMPORTED_EARLY = """
import django, sys
from django.conf import settings
settings.configure(INSTALLED_APPS=[], TASKS={"default": {"BACKEND": "taskyard.backend.TaskyardBackend"}})
from early import declared_early
print([name for name in ("celery", "taskyard.jobs.models") if name in sys.modules])
django.setup()
print([message.id for message in declared_early.get_backend().check()])
"""


def test_tasks_are_declared_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text(EARLY)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", IMPORTED_EARLY]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "['taskyard.E051']"], done.stderr
