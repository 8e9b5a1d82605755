"""What a test says about jobs; each failure shows what was there instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from taskyard.errors import DuplicateJob, TaskyardError
from taskyard.jobs.models import Job
from taskyard.jobs.states import State
from taskyard.runtime.testcase import hooks_left
from taskyard.testing.cases.calls import About, Wanted, enqueue, job_id, shown, shown_call, task_name


def enqueued(
    task: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] | None = None,
    **about: Unpack[About],
) -> list[Job]:
    """The jobs that were enqueued in this test, whatever became of them since, in order.

    See :func:`assert_enqueued` for what can be said of them; without anything, all of them.
    """
    return Wanted(None if task is None else task_name(task), args, kwargs, about).find()


def assert_enqueued(
    task: Any,
    kwargs: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] | None = None,
    count: int | None = None,
    **about: Unpack[About],
) -> Job:
    """Fail unless a job of the task was enqueued in this test; the first that was.

    ``kwargs`` and ``args`` name the arguments that matter, however the call passed them: ``enqueue(3)`` has
    ``{"order_id": 3}``. ``count`` asks for exactly so many. ``queue``, ``tenant``, ``subject`` and ``run_after``
    (see :class:`About`) are looked at if they are given. A refused duplicate is no job, and does not count.

    Limit: it looks at the table. Where a project enqueues in ``transaction.on_commit`` call :func:`commit` first: a
    test case never commits.
    """
    __tracebackhide__ = True
    wanted = Wanted(task_name(task), args, kwargs, about)
    if count is not None and count < 1:
        raise TaskyardError("count=0 is what assert_not_enqueued() is for.")
    found = wanted.find()
    if not found or (count is not None and len(found) != count):
        times = "" if count is None else f" {count} times but {len(found)}"
        raise AssertionError(f"{wanted} was not enqueued{times}.\n{_instead()}")
    return found[0]


def assert_not_enqueued(
    task: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Any] | None = None,
    **about: Unpack[About],
) -> None:
    """Fail if such a job was enqueued in this test; without a task, if any was. See :func:`assert_enqueued`."""
    __tracebackhide__ = True
    wanted = Wanted(None if task is None else task_name(task), args, kwargs, about)
    found = wanted.find()
    if found:
        raise AssertionError(f"{wanted} was enqueued:\n{shown(found)}")


def assert_duplicate(
    task: Any, kwargs: Mapping[str, Any] | None = None, *, args: Sequence[Any] = (), of: Any = None
) -> Job:
    """Fail unless this call, enqueued now, is refused for an unfinished job that holds its unique key; that job.

    ``of`` is the job it must be. It is enqueued for real. A task that raises
    :class:`~taskyard.errors.DuplicateJob` refuses as well as one that returns the job it found.
    """
    __tracebackhide__ = True
    call = shown_call(task_name(task), args, kwargs or {})
    found = _refused_for(task, args, kwargs=kwargs or {})
    if found is None:
        raise AssertionError(
            f"{call} became a job of its own: no unfinished job held its key.\n{_instead(task_name(task))}"
        )
    if of is not None and found.id != job_id(of):
        raise AssertionError(f"{call} was refused for {found}, not for {Job.objects.get(id=job_id(of))}.")
    return found


def assert_state(job: Any, state: str, *, reason: str | None = None, error: type[BaseException] | None = None) -> Job:
    """Fail unless the job, read anew, is in that state; the job.

    ``job`` may be what ``enqueue()`` or ``delay()`` returned, or an id. ``reason`` is the word of its error
    (``"discarded"``, ``"duplicate"``, ``"unknown-tenant"``); ``error`` the class of the exception it ended with.
    """
    __tracebackhide__ = True
    if state not in list(State):
        raise TaskyardError(f"{state!r} is no state; there are: {', '.join(State)}.")
    found: Job | None = Job.objects.filter(id=job_id(job)).first()
    if found is None:
        raise AssertionError(f"job {job_id(job)} is not in the table.")
    said = found.error or {}
    is_error = error is None or said.get("type") == error.__name__
    if found.state != state or (reason is not None and said.get("reason") != reason) or not is_error:
        asked = [f"reason {reason!r}"] if reason is not None else []
        asked += [error.__name__] if error is not None else []
        raise AssertionError(f"{found} is not {', '.join([state, *asked])}: {_story(found)}")
    return found


def _refused_for(task: Any, args: Sequence[Any], *, kwargs: Mapping[str, Any]) -> Job | None:
    try:
        job = enqueue(task, args, kwargs=kwargs)
    except DuplicateJob as error:
        held: Job = error.job
        return held
    return None if job.created else job


def _instead(task: str | None = None) -> str:
    jobs = Wanted(task, None, None, {}).find()
    left = hooks_left()
    hint = f"\n{left} functions wait for the commit, which a test case never makes: call commit()." if left else ""
    return (f"Enqueued in this test:\n{shown(jobs)}" if jobs else "Nothing was enqueued in this test.") + hint


def _story(job: Job) -> str:
    said = job.error or {}
    reason = f" (reason {said['reason']!r})" if said.get("reason") else ""
    words = [f"{said.get('type')}: {said.get('message')}{reason}"] if said else []
    last = job.attempts.order_by("-number").first()
    if last is not None and last.traceback:
        words.append(f"its attempt {last.number} ended so:\n{last.traceback}")
    return ", ".join([f"it is {job.state}", *words])
