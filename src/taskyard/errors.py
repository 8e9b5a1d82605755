"""Everything Taskyard raises: one tree, each error builds its own sentence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any


class TaskyardError(Exception):
    """Root of all errors of this package."""


class ConfigurationError(TaskyardError):
    """Settings that cannot work; all problems are reported at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("TASKYARD cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class NotReady(TaskyardError):
    """Something was asked of Taskyard before Django loaded it."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} is not available yet: add 'taskyard' to INSTALLED_APPS and call django.setup() first."
        )


class InvalidTask(TaskyardError):
    """A declaration that cannot work."""

    def __init__(self, task: str, problem: str) -> None:
        self.task, self.problem = task, problem
        super().__init__(f"Task {task!r}: {problem}")


class UnknownTask(TaskyardError):
    """A task name nobody declared in this process."""

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        self.name, self.known = name, tuple(known)
        hint = f" Did you mean {known[0]!r}?" if known else " Is its module imported (tasks.py of an installed app)?"
        super().__init__(f"No task named {name!r} is declared here.{hint}")


class UnknownQueue(TaskyardError):
    """A queue name that TASKYARD["QUEUES"] does not list."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(
            f"Queue {name!r} is not declared. Known queues: {', '.join(known)}. "
            "Add it to TASKYARD['QUEUES'] or correct the name."
        )


class PayloadError(TaskyardError):
    """Arguments or results that cannot be stored."""


class NotJson(PayloadError, TypeError):
    """A value that JSON cannot carry."""

    def __init__(self, task: str, where: str, problem: str) -> None:
        self.task, self.where, self.problem = task, where, problem
        super().__init__(
            f"Task {task!r}: {where} cannot be stored as JSON ({problem}). "
            "Pass plain values: a primary key instead of a model, an ISO string instead of a date."
        )


class StillHidden(PayloadError, ValueError):
    """A placeholder for a secret stands where nobody can tell which one it was."""

    def __init__(self, where: str) -> None:
        what = where.lstrip(".") or "the value"
        super().__init__(f"{what}: write it in full; [redacted] keeps what is stored only where it was shown.")


class PayloadTooLarge(PayloadError, ValueError):
    """Arguments over TASKYARD["MAX_PAYLOAD_BYTES"]."""

    def __init__(self, task: str, size_bytes: int, limit_bytes: int) -> None:
        self.task, self.size_bytes, self.limit_bytes = task, size_bytes, limit_bytes
        super().__init__(
            f"Task {task!r}: arguments take {size_bytes:,} bytes, the limit is {limit_bytes:,}. "
            "Store the data and pass its key, or raise TASKYARD['MAX_PAYLOAD_BYTES']."
        )


class InvalidName(PayloadError):
    """A name or an id that not every database, log and broker can carry."""

    def __init__(self, what: str, value: str, limit: int) -> None:
        self.what, self.value, self.limit = what, value, limit
        super().__init__(
            f"{what} {value!r:.100} cannot be stored: at most {limit:,} characters, without NUL and lone surrogates; "
            "names of tasks, queues and tenants, and task ids, without control characters either."
        )


class DuplicateJob(TaskyardError):
    """An unfinished job with the same unique key exists (``on_duplicate="raise"``)."""

    def __init__(self, job: Any) -> None:
        self.job = job
        super().__init__(f"Task {job.task!r} with key {job.unique_key!r} is already {job.state}: job {job.id}.")


class DuplicateBatch(TaskyardError):
    """A batch of this name and subject is running (``Batch.open(..., unique=True)``)."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        super().__init__(f"Batch {batch.name!r} is already running: {batch.done:,} of {batch.total:,}, id {batch.id}.")


class BatchEnded(TaskyardError):
    """Something was to be added to a batch that has ended, is cancelled, or does not exist."""

    def __init__(self, name: str, batch_id: Any) -> None:
        self.name, self.batch_id = name, batch_id
        super().__init__(
            f"Nothing can be added to batch {name!r} ({batch_id}) any more: it has ended or was cancelled. Open "
            "another, or add from one of its members."
        )


class NotInStep(TaskyardError):
    """A tracked row that cannot change in the transaction of its job."""

    def __init__(self, row: str, alias: str | None, control: str) -> None:
        self.row, self.alias, self.control = row, alias, control
        where = "is not saved" if alias is None else f"lives in {alias!r}"
        super().__init__(
            f"{row} {where}: to be kept in step it must be saved in {control!r}, where jobs live. Elsewhere, pass it "
            "as subject= and ask Job.objects.for_subject(row)."
        )


class JobNotWaitable(TaskyardError):
    """``.get()`` on a job that cannot have started: its transaction is still open."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(
            f"Job {job_id} was enqueued in a transaction that is still open, so no worker can see it and waiting "
            "for its result would never end. Leave the atomic() block first."
        )


class JobCancelled(TaskyardError):
    """Raised inside a task whose job was asked to stop."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Job {job_id} was cancelled.")


class JobFenced(TaskyardError):
    """Raised inside a task whose job was given to another attempt: nothing it writes counts any more."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Job {job_id} no longer belongs to this attempt: its worker was taken for lost.")


class InvalidProgress(TaskyardError, ValueError):
    """A report that says no number."""

    def __init__(self, what: str, value: Any) -> None:
        self.what, self.value = what, value
        super().__init__(f"Progress: {what} must be a finite number, not below zero; it is {value!r:.100}.")


class NoCurrentJob(TaskyardError):
    """``current_job()`` outside of a job."""

    def __init__(self) -> None:
        super().__init__("There is no current job: this code was called directly, not run by a worker.")


class UnknownTenant(TaskyardError):
    """A tenant nobody knows, or that was deleted."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        super().__init__(
            f"There is no tenant {tenant!r}: it was deleted, or its name is wrong. Nothing ran in its place."
        )


class TenantNotReady(TaskyardError):
    """A tenant that exists and cannot be worked for yet (its schema or database is being made)."""

    def __init__(self, tenant: str, reason: str = "") -> None:
        self.tenant, self.reason = tenant, reason
        super().__init__(f"Tenant {tenant!r} is not ready{f': {reason}' if reason else ''}. Its jobs wait until it is.")


class NoTenant(TaskyardError):
    """Something that belongs to a tenant was done outside of any."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} needs a tenant and there is none here: enter one with tenant_context(...).")


class TenantMismatch(TaskyardError):
    """Two different answers to the question whose work this is."""

    def __init__(self, what: str, tenant: str, *, current: str) -> None:
        self.what, self.tenant, self.current = what, tenant, current
        super().__init__(f"{what} is of tenant {tenant!r}, but the current tenant is {current!r}.")


class NotAllowed(TaskyardError):
    """Somebody who is known may not do this; pages and interfaces answer 403."""

    def __init__(self, who: str, permission: str, why: str = "") -> None:
        self.who, self.permission, self.why = who, permission, why
        needs = why or f"it takes the permission 'taskyard.{permission}'"
        super().__init__(f"{who} may not do this: {needs}.")


class NotFound(TaskyardError):
    """What somebody asked about is not there, or is another tenant's: nobody is told which; 404."""

    def __init__(self, kind: str, name: object) -> None:
        self.kind, self.name = kind, str(name)
        super().__init__(f"There is no {kind} {self.name}.")


class WrongState(TaskyardError):
    """What somebody asked for cannot be done to it as it stands; 409."""

    def __init__(self, kind: str, name: object, problem: str) -> None:
        self.kind, self.name, self.problem = kind, str(name), problem
        super().__init__(f"The {kind} {self.name} is left as it is: {problem}.")


class InvalidLimit(TaskyardError):
    """A limit of a tenant or a queue that means nothing."""

    def __init__(self, name: str, what: str, value: object, wanted: str) -> None:
        self.name, self.what, self.value = name, what, value
        super().__init__(f"{what}={value!r} of {name!r}: it must be {wanted}.")


class InvalidOrchestrator(TaskyardError):
    """A declaration that cannot work; all problems are reported at once."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.name, self.problems = name, tuple(problems)
        super().__init__(f"Orchestrator {name!r} cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class UnknownOrchestrator(TaskyardError):
    """A name, or a version, that nobody declared in this process."""

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        self.name, self.known = name, tuple(known)
        hint = f" Did you mean {known[0]!r}?" if known else " Is its module imported (orchestrators.py of an app)?"
        super().__init__(f"No orchestrator named {name!r} is declared here.{hint}")


class SagaFailed(TaskyardError):
    """The result of a saga was asked for, and there is none: it did not complete."""

    def __init__(self, saga_id: Any, state: str, error: Mapping[str, Any]) -> None:
        self.saga_id, self.saga_state, self.error = saga_id, state, error
        why = f": {error.get('type')}: {error.get('message')}" if error else ""
        super().__init__(f"Saga {saga_id} is {state}{why}")


class SagaNotFinished(TaskyardError):
    """The result of a saga was asked for before it had ended."""

    def __init__(self, saga_id: Any, state: str) -> None:
        self.saga_id, self.saga_state = saga_id, state
        super().__init__(f"Saga {saga_id} is still {state}: pass timeout= to wait, or ask again.")


class InvalidSchedule(TaskyardError):
    """A definition that cannot work; all problems are reported at once."""

    def __init__(self, name: str, problems: Sequence[str], *, fields: Sequence[str] = ()) -> None:
        self.name, self.problems = name, tuple(problems)
        #: What each of the problems is about, where that is known: a word of ``define``.
        self.fields = tuple(fields) or ("",) * len(self.problems)
        super().__init__(f"Schedule {name!r} cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class UnknownSchedule(TaskyardError):
    """A schedule of that name that this tenant does not have."""

    def __init__(self, name: str, tenant: str = "") -> None:
        self.name, self.tenant = name, tenant
        whose = f"Tenant {tenant!r} has" if tenant else "There is"
        super().__init__(f"{whose} no schedule {name!r}: taskyard schedules list shows them.")


class UndeclaredSchedule(TaskyardError):
    """A schedule that a clock calls for and that the code does not declare."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"The code declares no schedule {name!r}. If it was dropped, sync the target that still calls for it."
        )


class UnknownTarget(TaskyardError):
    """A target of schedules that nobody wrote."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"There is no target {name!r} of schedules. There are: {', '.join(known)}.")


class CannotSay(TaskyardError):
    """A schedule that the dialect of a target cannot say exactly."""

    def __init__(self, target: str, reason: str) -> None:
        self.target, self.reason = target, reason
        super().__init__(f"The target {target!r} cannot say it: {reason}.")


class TargetFailed(TaskyardError):
    """A target of schedules that did not do as it was told."""

    def __init__(self, target: str, key: str, problem: str) -> None:
        self.target, self.key, self.problem = target, key, problem
        at = f" at {key!r}" if key else ""
        super().__init__(
            f"The target {target!r} failed{at}: {problem.rstrip('.')}. What was done before stays; run it again."
        )


class DamagedTarget(TaskyardError):
    """What a target holds cannot be read, so that nothing of it may be written."""

    def __init__(self, where: str, reason: str) -> None:
        self.where, self.reason = where, reason
        super().__init__(f"{where} is left as it is: {reason}.")


class InvalidRecurrence(TaskyardError, ValueError):
    """A recurrence, a bound or a calendar that cannot work, or stored data that is none."""

    def __init__(self, what: str, problem: str) -> None:
        self.what, self.problem = what, problem
        super().__init__(f"{what}: {problem}.")


class UnknownLine(TaskyardError):
    """The job of a line that no crontab file of this worker has."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(
            f"No crontab file here has a line {line!r}: it was taken out, or this worker was deployed with other files."
        )


class CommandFailed(TaskyardError):
    """A command of a crontab file ended with an exit code other than 0, by a signal, or by its time limit."""

    def __init__(self, line: str, end: str, output: str) -> None:
        self.line, self.end, self.output = line, end, output
        super().__init__(f"{end}\n{output}".rstrip())

    def __reduce__(self) -> tuple[Any, ...]:
        # It crosses the pipe to the pool's parent; from its sentence alone it could not be made again.
        return type(self), (self.line, self.end, self.output)


class NoRelease(TaskyardError):
    """Nobody can tell when the next release runs."""

    def __init__(self) -> None:
        super().__init__(
            "TASKYARD['RELEASE'] is not set, so nobody knows when the next release runs. Set it, or say a time."
        )


class PublishFailed(TaskyardError):
    """The broker did not confirm a batch in time; the jobs stay in the table."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The broker did not accept the messages: {reason}")


class BrokerUnreachable(TaskyardError):
    """The broker did not answer in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(
            f"The broker at {url} does not answer ({reason}). Start it, or correct CELERY_BROKER_URL; enqueued jobs "
            "wait in the database meanwhile."
        )


class Steering(Exception):
    """What a task raises to say how its job goes on; never an error of the program."""


class Retry(Steering):
    """Raise it to end this attempt and run the job again ``after`` a while (default: by the task's policy)."""

    def __init__(self, reason: str = "", *, after: dt.timedelta | None = None) -> None:
        self.reason, self.after = reason, after
        super().__init__(reason or "retry asked for by the task")


class Discard(Steering):
    """Raise it to end the job as cancelled, with a reason and without a retry."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "discarded by the task")


class Snooze(Steering):
    """Raise it to put the job back until a time, without spending an attempt."""

    def __init__(self, until: dt.datetime | dt.timedelta) -> None:
        self.until = until
        super().__init__(f"snoozed until {until}")
