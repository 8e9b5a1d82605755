"""One table of what each verb answers to whom. Functions, commands, admin and API are asked the same (`ask`).

A surface is a way to use the verbs: `Surface.words` says for each verb how it is asked there, `Surface.use` does it.
What a surface does not offer is left out of its words by name, with the reason, so that a new verb is not forgotten
anywhere.
"""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db import transaction

from taskyard.jobs.models import Attempt, Job
from taskyard.models import (
    ApiToken,
    AuditEntry,
    Backfill,
    Batch,
    Failure,
    FailureGroup,
    QueueSetting,
    Saga,
    SagaPlan,
    SagaSignal,
    SagaStep,
    Schedule,
    TenantSetting,
    Worker,
)
from taskyard.operations.acting.verbs import find_verb
from taskyard.schedules import Every
from tests.app.operated import Order
from tests.app.tasks import nothing

#: Stands in everything of acme's that is payload, and nowhere else.
SECRET = "xyzzy-4711"
_EVERYONE_MAY = [
    "view_job", "view_batch", "view_failure", "view_queue", "view_tenant", "view_worker", "view_schedule",
    "view_auditentry", "view_apitoken", "view_saga",
]  # fmt: skip
#: Verbs that show payload.
_SHOWS = {
    "job.show", "job.list", "job.items", "batch.show", "failure.list", "failure.show", "saga.list", "saga.show",
}  # fmt: skip


class Answer(StrEnum):
    """What comes back."""

    #: It was done, to what is acme's.
    DONE = "done"
    #: It was done, and the answer holds nothing of the payload.
    BLIND = "done without payload"
    #: It was done to what is globex's own: nothing of acme's was touched or shown.
    OWN = "done to its own"
    NOT_ALLOWED = "not allowed"
    #: The same, word for word, as for what does not exist.
    NOT_FOUND = "not found"


class Who(StrEnum):
    """The columns of the table."""

    NO_PERMISSION = "no permission"
    OTHER_TENANT = "other tenant"
    READ_ONLY = "read-only"
    PAYLOAD_BLIND = "payload-blind"
    ALLOWED = "allowed"


def row(*answers: Answer) -> dict[Who, Answer]:
    return dict(zip(Who, answers, strict=True))


_NO = Answer.NOT_ALLOWED
#: Changes something of a tenant's.
CHANGE = row(_NO, Answer.NOT_FOUND, _NO, Answer.BLIND, Answer.DONE)
#: The same, and whoever may not see payload cannot do it.
CHANGE_PAYLOAD = row(_NO, Answer.NOT_FOUND, _NO, _NO, Answer.DONE)
#: Changes what it finds: of others it finds nothing.
CHANGE_OWN = row(_NO, Answer.OWN, _NO, Answer.BLIND, Answer.DONE)
#: Concerns everybody: to people of a tenant it is closed, whatever they may do.
CHANGE_FOR_ALL = row(_NO, _NO, _NO, Answer.BLIND, Answer.DONE)
LOOK = row(_NO, Answer.NOT_FOUND, Answer.DONE, Answer.BLIND, Answer.DONE)
LOOK_OWN = row(_NO, Answer.OWN, Answer.DONE, Answer.BLIND, Answer.DONE)

#: By ``kind.verb``; ``many`` stands for the verb over a selection.
TABLE: dict[str, dict[Who, Answer]] = {
    "job.list": LOOK_OWN,
    "job.show": LOOK,
    "job.retry": CHANGE,
    "job.cancel": CHANGE,
    "job.discard": CHANGE,
    "job.edit": CHANGE_PAYLOAD,
    "job.copy": CHANGE,
    "job.enqueue": CHANGE_OWN,
    "job.prune": CHANGE_OWN,
    "job.count_prunable": row(_NO, Answer.OWN, _NO, Answer.BLIND, Answer.DONE),
    "job.items": LOOK,
    "batch.list": LOOK_OWN,
    "batch.show": LOOK,
    "batch.cancel": CHANGE,
    "saga.list": LOOK_OWN,
    "saga.show": LOOK,
    "saga.retry_step": CHANGE,
    "saga.skip_step": CHANGE,
    "saga.compensate": CHANGE,
    "saga.resume": CHANGE,
    "saga.cancel": CHANGE,
    "saga.signal": CHANGE,
    "saga.fork": CHANGE,
    "failure.list": LOOK_OWN,
    "failure.show": LOOK,
    "failure.retry": CHANGE,
    "failure.discard": CHANGE,
    "failure.snooze": CHANGE_FOR_ALL,
    "failure.resolve": CHANGE_FOR_ALL,
    "failure.reopen": CHANGE_FOR_ALL,
    "failure.note": CHANGE_FOR_ALL,
    "many.retry": CHANGE_OWN,
    "many.cancel": CHANGE_OWN,
    "many.discard": CHANGE_OWN,
    "queue.list": LOOK_OWN,
    "queue.pause": CHANGE_FOR_ALL,
    "queue.resume": CHANGE_FOR_ALL,
    "queue.limit": CHANGE_FOR_ALL,
    "queue.clear": CHANGE_OWN,
    "tenant.list": LOOK_OWN,
    "tenant.pause": CHANGE_FOR_ALL,
    "tenant.resume": CHANGE_FOR_ALL,
    "tenant.limit": CHANGE_FOR_ALL,
    "worker.list": LOOK_OWN,
    "worker.stop": CHANGE_FOR_ALL,
    "schedule.list": LOOK_OWN,
    "schedule.find": LOOK,
    "schedule.run": CHANGE,
    "schedule.run_declared": CHANGE_FOR_ALL,
    "schedule.pause": CHANGE,
    "schedule.resume": CHANGE,
    "schedule.enable": CHANGE,
    "schedule.disable": CHANGE,
    "schedule.define": row(_NO, Answer.OWN, _NO, _NO, Answer.DONE),
    "schedule.remove": CHANGE,
    "schedule.backfill": CHANGE,
    "schedule.look_ahead": row(_NO, Answer.NOT_FOUND, _NO, Answer.BLIND, Answer.DONE),
    "schedule.cancel_backfill": CHANGE,
    "auditentry.list": LOOK_OWN,
    "apitoken.list": LOOK_OWN,
    "apitoken.create": CHANGE_OWN,
    "apitoken.revoke": CHANGE,
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """What is acme's."""

    failed: uuid.UUID
    pending: uuid.UUID
    #: Name of a schedule, and of its running back-fill.
    schedule: str
    fill: int
    #: The fingerprint of the group that the failed job is in; it is snoozed.
    group: str
    #: Both jobs are members.
    batch: uuid.UUID
    #: A saga that needs attention: the compensation of its step ``charge`` gave up.
    saga: uuid.UUID
    #: The prefix of a token.
    token: str = "acmetokn"
    #: Name of a queue that holds the pending job, and of one that is paused.
    queue: str = "celery"
    tenant: str = "acme"
    worker: str = "w@host"
    declared: str = "coded"

    def elsewhere(self) -> "Stage":
        """The same of what does not exist."""
        return dataclasses.replace(
            self, failed=uuid.uuid4(), pending=uuid.uuid4(), schedule="nowhere", fill=0, group="1-0a0b0c",
            batch=uuid.uuid4(), saga=uuid.uuid4(), token="nonesuch",
        )  # fmt: skip

    def names(self) -> set[str]:
        """What tells that something of acme's is there."""
        return {
            str(self.failed), str(self.pending), self.schedule, self.group, str(self.batch), str(self.saga), self.token,
        }  # fmt: skip


def set_up(now: dt.datetime) -> Stage:
    """Rows of acme in the states that the verbs want; globex has nothing."""
    failed = nothing.using(tenant="acme").enqueue(n=1)
    pending = nothing.using(tenant="acme").enqueue(n=2)
    error = {"type": "ValueError", "message": SECRET, "reason": ""}
    Job.objects.filter(id=failed.id).update(
        state="failed", finished_at=now, error=error, attempt=1, kwargs={"n": SECRET}, checkpoint=[SECRET],
        result=SECRET, counts={"failed": 1, "errors": [{"item": SECRET, "error": SECRET}]}, unique_key=SECRET,
    )  # fmt: skip
    Attempt.objects.create(
        job=failed, number=1, error_type="ValueError", error_message=SECRET, traceback=SECRET, ended_at=now
    )
    batch = Batch.objects.create(
        name="all of it", tenant="acme", total=2, failed=1, is_sealed=True, created_at=now, updated_at=now,
        stale_at=now, stale_after=60,
    )  # fmt: skip
    Job.objects.filter(id__in=[failed.id, pending.id]).update(batch=batch.id)
    group = FailureGroup.objects.create(
        fingerprint="1-5e7c0de", task="app.nothing", error_type="ValueError", message=SECRET, first_seen_at=now,
        seen_at=now, state="snoozed", snoozed_until=now + dt.timedelta(hours=1),
    )  # fmt: skip
    Failure.objects.create(job=failed, group=group, tenant="acme", failed_at=now)
    schedule = Schedule.objects.define(
        name="acmes", tenant="acme", recurrence=Every(dt.timedelta(hours=1)), task=nothing, kwargs={"n": SECRET}
    )
    Schedule.objects.filter(pk=schedule.pk).update(created_at=now - dt.timedelta(days=2))
    fill = Backfill.objects.create(
        schedule=schedule, queue="celery", per_minute=60, since=now, until=now, done_until=now, next_at=now,
        created_at=now,
    )  # fmt: skip
    Worker.objects.create(
        id=uuid.uuid4(), name="w@host", host="host", pid=1, queues=["celery"], slots=1, started_at=now, heartbeat_at=now
    )
    QueueSetting.objects.pause(["held"], now)
    TenantSetting.objects.pause(["acme"], now)
    AuditEntry.objects.create(at=now, who="zoe", tenant="acme", verb="retry", kind="job", target=str(failed.id))
    ApiToken.objects.create(
        name="acmes", prefix="acmetokn", digest="0" * 64, scopes=["read"], tenant="acme", created_at=now
    )
    return Stage(failed.id, pending.id, schedule.name, fill.pk, group.pk, batch.id, _stuck_saga(now))


def _stuck_saga(now: dt.datetime) -> uuid.UUID:
    plan, error = Order.definition.plan, {"type": "CardNetworkDown", "message": SECRET}
    saga = Saga.objects.create(
        name="order", version=1, plan=plan.digest, tenant="acme", state="needs_attention", is_undoing=True, revision=9,
        queue="celery", inputs={"item": SECRET, "card": "4000"}, error=error, stuck=error, created_at=now,
        updated_at=now,
    )  # fmt: skip
    SagaPlan.objects.create(digest=plan.digest, name="order", version=1, steps=plan.text, created_at=now)
    SagaStep.objects.create(saga=saga.id, name="reserve", state="succeeded", result=SECRET, attempt=1)
    SagaStep.objects.create(saga=saga.id, name="charge", state="compensation_failed", error=error, attempt=1)
    SagaSignal.objects.create(saga=saga.id, name="approved", key=SECRET, payload=SECRET, received_at=now, used_at=now)
    return saga.id


def tenant_of(user: User) -> str | None:
    """For ``TASKYARD["TENANT_OF_USER"]``: ``acme-ann`` is acme's, ``all-ann`` an operator."""
    tenant = user.username.partition("-")[0]
    return None if tenant == "all" else tenant


def people(who: Who, verb: str) -> User:
    """The user of a column. Those whom a verb for operators of all tenants is not closed to are such."""
    kind, _, name = verb.partition(".")
    is_for_all = kind != "many" and find_verb(kind, name).for_all
    tenant = "globex" if who == Who.OTHER_TENANT else "all" if is_for_all else "acme"
    user = User.objects.create_user(f"{tenant}-ann", is_staff=True)
    every = Permission.objects.filter(content_type__app_label="taskyard")
    match who:
        case Who.READ_ONLY:
            user.user_permissions.set(every.filter(codename__in=[*_EVERYONE_MAY, "view_payload"]))
        case Who.PAYLOAD_BLIND:
            user.user_permissions.set(every.exclude(codename="view_payload"))
        case Who.OTHER_TENANT | Who.ALLOWED:
            user.user_permissions.set(every)
    return User.objects.get(pk=user.pk)


@dataclasses.dataclass(frozen=True)
class Surface:
    """A way to use the verbs."""

    name: str
    #: How each verb is asked here.
    words: Mapping[str, Any]
    #: Does it: an answer (``DONE`` where it was done, whatever to), and all that was said.
    use: Callable[[Any, User, Stage], tuple[Answer, str]]
    #: Verbs that are not offered here, and why.
    without: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def says_of_each_verb(self) -> None:
        """Whether it is offered, or why not: of a new one too."""
        assert set(self.words) | set(self.without) == set(TABLE)
        assert not set(self.words) & set(self.without)
        assert all(len(reason) > 20 for reason in self.without.values())


def ask(surface: Surface, verb: str) -> None:
    """One row of the table."""
    stage = set_up(dt.datetime.now(dt.UTC))
    for who in Who:
        with transaction.atomic():
            ask_one(surface, verb, who=who, stage=stage)
            transaction.set_rollback(True)


def ask_one(surface: Surface, verb: str, *, who: Who, stage: Stage) -> None:
    """One cell of the table."""
    TOLD.clear()
    user, wanted = people(who, verb), TABLE[verb][who]
    before, entries = _snapshot(), set(AuditEntry.objects.values_list("pk", flat=True))
    answer, text = surface.use(surface.words[verb], user, stage)
    is_done = wanted in (Answer.DONE, Answer.BLIND, Answer.OWN)
    assert answer == (Answer.DONE if is_done else wanted), (who, text)
    written = AuditEntry.objects.exclude(pk__in=entries)
    kind, _, name = verb.partition(".")
    reads = kind != "many" and find_verb(kind, name).reads
    assert [entry.who for entry in written] == ([user.username] if is_done and not reads else []), text
    for entry in written:
        assert (entry.kind, entry.user) == ("job" if kind == "many" else kind, str(user.pk))
        assert SECRET not in str(vars(entry))
    if wanted != Answer.DONE:
        assert SECRET not in text
    elif verb in _SHOWS:
        assert SECRET in text
    if wanted in (Answer.OWN, Answer.NOT_ALLOWED, Answer.NOT_FOUND):
        assert _snapshot() == before
    if wanted == Answer.OWN:
        assert not [shown for shown in stage.names() if shown in text], text
    elif is_done and not reads:
        assert _snapshot() != before, (who, "nothing was done")
    if wanted == Answer.NOT_FOUND:
        nowhere = stage.elsewhere()
        assert _same(surface.use(surface.words[verb], user, nowhere), nowhere) == _same((answer, text), stage)


def _same(said: tuple[Answer, str], stage: Stage) -> tuple[Answer, str]:
    answer, text = said
    for value in stage.names():
        text = text.replace(str(value), "IT")
    return answer, text


def _snapshot() -> dict[str, Any]:
    """Everything of acme's, and what concerns all; without what reading alone may write."""
    return {
        "jobs": sorted(Job.objects.filter(tenant="acme").values_list("id", "state", "kwargs", "cancel_requested_at")),
        "schedules": list(Schedule.objects.filter(tenant__in=["acme", ""]).order_by("pk").values()),
        "batches": list(Batch.objects.order_by("pk").values()),
        "sagas": [
            *Saga.objects.filter(tenant="acme").order_by("pk").values(), *SagaStep.objects.order_by("pk").values(),
            *SagaSignal.objects.order_by("pk").values(),
        ],
        "groups": list(FailureGroup.objects.order_by("pk").values()),
        "fills": list(Backfill.objects.order_by("pk").values()),
        "held": [*QueueSetting.objects.order_by("pk").values(), *TenantSetting.objects.order_by("pk").values()],
        "tokens": list(ApiToken.objects.filter(tenant="acme").order_by("pk").values()),
        "told": list(TOLD),
    }  # fmt: skip


#: Workers that were told to stop.
TOLD: list[str] = []
