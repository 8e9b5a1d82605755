"""The table of who may do what, asked of the functions and of the command line."""

import datetime as dt
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.errors import NotAllowed, NotFound
from taskyard.jobs.queries import JobFilter
from taskyard.models import ApiToken, Backfill, Schedule
from taskyard.operations import (
    Actor,
    audit,
    batches,
    failures,
    jobs,
    queues,
    sagas,
    schedules,
    tenants,
    tokens,
    workers,
)
from taskyard.operations.acting.verbs import all_verbs
from taskyard.operations.bulk import order
from taskyard.schedules import Every, register
from taskyard.schedules.backfill import Wish
from taskyard.schedules.sources import code
from taskyard.tasks.doors import door, open_door
from tests.app.tasks import nothing
from tests.integration.verb_cases import TABLE, TOLD, Answer, Stage, Surface, ask, tenant_of

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)
_ONE = (
    pytest.mark.any_database("behind it are the functions, which are asked on each"),
    pytest.mark.any_django("what is Django's on the way, tests of the API and of pages meet"),
)


def a_way_to_the_functions(test: Any) -> Any:
    """Words are made a call, and its answer words again: no database and no version of Django tells them apart."""
    for mark in _ONE:
        test = mark(test)
    return test


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    register("coded", Every(HOUR), task=nothing, targets=["crontab"])
    stop = door("stop_worker")
    open_door("stop_worker", TOLD.append)
    with override_settings(TASKYARD={"TENANT_OF_USER": tenant_of, "USER_SCHEDULES": {"tasks": ["app.nothing"]}}):
        yield
    open_door("stop_worker", stop)


def later() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + HOUR


def wish() -> Wish:
    return Wish(since=dt.datetime.now(dt.UTC) - 5 * HOUR, queue="celery")


def chosen(name: str, actor: Actor, state: str) -> Any:
    with order.here(actor, order.order(actor, name, JobFilter(states=(state,)))) as run:
        for _ in run.steps():
            pass
    return run.changed


def row_of(stage: Stage) -> Schedule:
    row: Schedule | None = Schedule.objects.filter(name=stage.schedule).first()
    return row or Schedule(name=stage.schedule, tenant="nobody")


def fill_of(stage: Stage) -> Backfill:
    return Backfill.objects.filter(pk=stage.fill).first() or Backfill(schedule=row_of(stage))


def define(actor: Actor) -> Schedule:
    tenant = actor.tenant or "acme"
    return schedules.define(
        actor, name="made", tenant=tenant, recurrence=Every(HOUR), task=nothing, kwargs={"n": 1}, origin="api"
    )


CALLS = {
    "job.list": lambda a, s: jobs.list_(a),
    "job.show": lambda a, s: jobs.show(a, s.failed),
    "job.retry": lambda a, s: jobs.retry(a, [s.failed]),
    "job.cancel": lambda a, s: jobs.cancel(a, [s.pending]),
    "job.discard": lambda a, s: jobs.discard(a, [s.failed]),
    "job.edit": lambda a, s: jobs.edit(a, s.failed, kwargs={"n": 3}),
    "job.copy": lambda a, s: jobs.copy(a, s.failed).id,
    "job.enqueue": lambda a, s: jobs.enqueue(a, "app.nothing", kwargs={"n": 4}).id,
    "job.prune": lambda a, s: jobs.prune(a, {"failed": later()}),
    "job.count_prunable": lambda a, s: jobs.count_prunable(a, {"failed": later()}),
    "job.items": lambda a, s: batches.items(a, s.failed),
    "batch.list": lambda a, s: batches.list_(a),
    "batch.show": lambda a, s: batches.show(a, s.batch),
    "batch.cancel": lambda a, s: batches.cancel(a, s.batch),
    "saga.list": lambda a, s: sagas.list_(a),
    "saga.show": lambda a, s: sagas.show(a, s.saga),
    "saga.retry_step": lambda a, s: sagas.retry_step(a, s.saga, "charge"),
    "saga.skip_step": lambda a, s: sagas.skip_step(a, s.saga, "charge", reason="refunded by hand"),
    "saga.compensate": lambda a, s: sagas.compensate(a, s.saga),
    "saga.resume": lambda a, s: sagas.resume(a, s.saga),
    "saga.cancel": lambda a, s: sagas.cancel(a, s.saga),
    "saga.signal": lambda a, s: sagas.signal(a, s.saga, "approved"),
    "saga.fork": lambda a, s: sagas.fork(a, s.saga, "reserve"),
    "failure.list": lambda a, s: failures.list_(a),
    "failure.show": lambda a, s: failures.show(a, s.group),
    "failure.retry": lambda a, s: failures.retry(a, s.group),
    "failure.discard": lambda a, s: failures.discard(a, s.group),
    "failure.snooze": lambda a, s: failures.snooze(a, s.group, until=later()),
    "failure.resolve": lambda a, s: failures.resolve(a, s.group),
    "failure.reopen": lambda a, s: failures.reopen(a, s.group),
    "failure.note": lambda a, s: failures.note(a, s.group, "the disk was full"),
    "many.retry": lambda a, s: chosen("retry", a, "failed"),
    "many.cancel": lambda a, s: chosen("cancel", a, "pending"),
    "many.discard": lambda a, s: chosen("discard", a, "failed"),
    "queue.list": lambda a, s: queues.list_(a),
    "queue.pause": lambda a, s: queues.pause(a, [s.queue]),
    "queue.resume": lambda a, s: queues.resume(a, ["held"]),
    "queue.limit": lambda a, s: queues.limit(a, s.queue, max_running=3),
    "queue.clear": lambda a, s: queues.clear(a, s.queue),
    "tenant.list": lambda a, s: tenants.list_(a),
    "tenant.pause": lambda a, s: tenants.pause(a, ["globex"]),
    "tenant.resume": lambda a, s: tenants.resume(a, [s.tenant]),
    "tenant.limit": lambda a, s: tenants.limit(a, s.tenant, weight=3.0),
    "worker.list": lambda a, s: workers.list_(a),
    "worker.stop": lambda a, s: workers.stop(a, s.worker),
    "schedule.list": lambda a, s: list(schedules.list_(a)),
    "schedule.find": lambda a, s: schedules.find(a, s.schedule),
    "schedule.run": lambda a, s: schedules.run(a, row_of(s)),
    "schedule.run_declared": lambda a, s: schedules.run_declared(a, s.declared),
    "schedule.pause": lambda a, s: schedules.pause(a, row_of(s), reason="moving"),
    "schedule.resume": lambda a, s: schedules.resume(a, row_of(s)),
    "schedule.enable": lambda a, s: schedules.enable(a, row_of(s)),
    "schedule.disable": lambda a, s: schedules.disable(a, row_of(s)),
    "schedule.define": lambda a, s: define(a),
    "schedule.remove": lambda a, s: schedules.remove(a, row_of(s)),
    "schedule.backfill": lambda a, s: schedules.backfill(a, row_of(s), wish()),
    "schedule.look_ahead": lambda a, s: schedules.look_ahead(a, row_of(s), wish()),
    "schedule.cancel_backfill": lambda a, s: schedules.cancel_backfill(a, fill_of(s)),
    "auditentry.list": lambda a, s: [vars(entry) for entry in audit.list_(a)],
    "apitoken.list": lambda a, s: tokens.list_(a),
    "apitoken.create": lambda a, s: tokens.create(a, "robot", scopes=["read"]).row.prefix,
    "apitoken.revoke": lambda a, s: tokens.revoke(a, s.token),
}


def call(words: Any, user: User, stage: Stage) -> tuple[Answer, str]:
    try:
        return Answer.DONE, repr(words(Actor.of_user(user, via="test"), stage))
    except NotAllowed as error:
        return Answer.NOT_ALLOWED, str(error)
    except NotFound as error:
        return Answer.NOT_FOUND, str(error)


COMMANDS = {
    "job.list": "jobs list --json",
    "job.show": "jobs show {failed}",
    "job.retry": "jobs retry {failed}",
    "job.cancel": "jobs cancel {pending}",
    "job.discard": "jobs discard {failed}",
    "job.edit": 'jobs edit {failed} --kwargs {{"n":3}}',
    "job.copy": "jobs copy {failed}",
    "job.prune": "jobs prune --before 0s",
    "job.count_prunable": "jobs prune --before 0s --dry-run",
    "job.items": "batches show {failed}",
    "batch.list": "batches list --json",
    "batch.show": "batches show {batch}",
    "batch.cancel": "batches cancel {batch}",
    "saga.list": "sagas list --json",
    "saga.show": "sagas show {saga}",
    "saga.retry_step": "sagas retry {saga} charge",
    "saga.skip_step": "sagas skip {saga} charge --reason refunded",
    "saga.compensate": "sagas compensate {saga}",
    "saga.resume": "sagas resume {saga}",
    "saga.cancel": "sagas cancel {saga}",
    "saga.signal": "sagas signal {saga} approved",
    "saga.fork": "sagas fork {saga} reserve",
    "failure.list": "failures list --state any --json",
    "failure.show": "failures show {group}",
    "failure.retry": "failures retry {group}",
    "failure.discard": "failures discard {group}",
    "failure.snooze": "failures snooze {group} --for 2h",
    "failure.resolve": "failures resolve {group}",
    "failure.reopen": "failures reopen {group}",
    "failure.note": "failures note {group} it-was-full",
    "many.retry": "jobs retry --state failed",
    "many.cancel": "jobs cancel --state pending",
    "many.discard": "jobs discard --task app.*",
    "queue.list": "queues list --json",
    "queue.pause": "queues pause {queue}",
    "queue.resume": "queues resume held",
    "queue.limit": "queues limit {queue} --max-running 3",
    "queue.clear": "queues clear {queue}",
    "tenant.list": "tenants list --json",
    "tenant.pause": "tenants pause globex",
    "tenant.resume": "tenants resume {tenant}",
    "tenant.limit": "tenants limit {tenant} --weight 3",
    "worker.list": "workers list --json",
    "worker.stop": "workers stop {worker}",
    "schedule.list": "schedules list --json",
    "schedule.find": "schedules show {schedule}",
    "schedule.run": "schedules run {schedule}",
    "schedule.run_declared": "schedules run {declared} --due job:by-hand",
    "schedule.pause": "schedules pause {schedule}",
    "schedule.resume": "schedules resume {schedule}",
    "schedule.enable": "schedules enable {schedule}",
    "schedule.disable": "schedules disable {schedule}",
    "schedule.backfill": "schedules backfill {schedule} --from 5h --queue celery",
    "schedule.look_ahead": "schedules backfill {schedule} --from 5h --queue celery --dry-run",
    "schedule.cancel_backfill": "schedules backfill {schedule} --cancel",
    "auditentry.list": "audit list --json",
    "apitoken.list": "tokens list --json",
    "apitoken.create": "tokens create robot --scope read",
    "apitoken.revoke": "tokens revoke {token}",
}


def command(words: Any, user: User, stage: Stage) -> tuple[Answer, str]:
    out = io.StringIO()
    line = words.format(**vars(stage)).split()
    code = cli.run([*line, "--as", user.username], prog="taskyard", has_project=True, screen=Screen(out, out))
    text = out.getvalue()
    if code == 4:
        return Answer.NOT_ALLOWED, text
    # Nothing to do is exit code 1 as well, and no refusal.
    return (Answer.NOT_FOUND if code and "There is no" in text else Answer.DONE), text


FUNCTIONS = Surface("functions", CALLS, call)
COMMAND_LINE = Surface("command line", COMMANDS, command, {
    "job.enqueue": "whoever has a shell has the code, which says it with types: task.enqueue(...)",
    "schedule.define": "code, the admin and the API say more than options of a command could",
    "schedule.remove": "those of the code go by `schedules sync`, those of people where they were made",
})  # fmt: skip


REQUESTS: dict[str, tuple[Any, ...]] = {
    "job.list": ("GET", "jobs"),
    "job.show": ("GET", "jobs/{failed}"),
    "job.retry": ("POST", "jobs/{failed}/retry"),
    "job.cancel": ("POST", "jobs/{pending}/cancel"),
    "job.discard": ("POST", "jobs/{failed}/discard"),
    "job.edit": ("POST", "jobs/{failed}/edit", {"kwargs": {"n": 3}}),
    "job.copy": ("POST", "jobs/{failed}/copy"),
    "job.enqueue": ("POST", "jobs", {"task": "app.nothing", "kwargs": {"n": 4}}),
    "batch.list": ("GET", "batches"),
    "batch.show": ("GET", "batches/{batch}"),
    "batch.cancel": ("POST", "batches/{batch}/cancel"),
    "saga.list": ("GET", "sagas"),
    "saga.show": ("GET", "sagas/{saga}"),
    "saga.retry_step": ("POST", "sagas/{saga}/steps/charge/retry"),
    "saga.skip_step": ("POST", "sagas/{saga}/steps/charge/skip", {"reason": "refunded by hand"}),
    "saga.compensate": ("POST", "sagas/{saga}/compensate"),
    "saga.resume": ("POST", "sagas/{saga}/resume"),
    "saga.cancel": ("POST", "sagas/{saga}/cancel"),
    "saga.signal": ("POST", "sagas/{saga}/signals", {"name": "approved"}),
    "saga.fork": ("POST", "sagas/{saga}/fork", {"step": "reserve"}),
    "failure.list": ("GET", "failures"),
    "failure.show": ("GET", "failures/{group}"),
    "failure.retry": ("POST", "failures/{group}/retry", {"rate": 200}),
    "failure.discard": ("POST", "failures/{group}/discard"),
    "failure.snooze": ("POST", "failures/{group}/snooze", {"until": "2999-01-01T00:00:00Z"}),
    "failure.resolve": ("POST", "failures/{group}/resolve"),
    "failure.reopen": ("POST", "failures/{group}/reopen"),
    "failure.note": ("POST", "failures/{group}/note", {"text": "seen"}),
    "many.retry": ("POST", "jobs/bulk", {"verb": "retry", "filter": {"state": ["failed"]}}),
    "many.cancel": ("POST", "jobs/bulk", {"verb": "cancel", "filter": {"state": ["pending"]}}),
    "many.discard": ("POST", "jobs/bulk", {"verb": "discard", "filter": {"state": ["failed"]}}),
    "queue.list": ("GET", "queues"),
    "queue.pause": ("POST", "queues/{queue}/pause"),
    "queue.resume": ("POST", "queues/held/resume"),
    "queue.limit": ("POST", "queues/{queue}/limit", {"max_running": 3}),
    "queue.clear": ("POST", "queues/{queue}/clear"),
    "tenant.list": ("GET", "tenants"),
    "tenant.pause": ("POST", "tenants/globex/pause"),
    "tenant.resume": ("POST", "tenants/{tenant}/resume"),
    "tenant.limit": ("POST", "tenants/{tenant}/limit", {"weight": 3}),
    "worker.list": ("GET", "workers"),
    "worker.stop": ("POST", "workers/{worker}/stop"),
    "schedule.list": ("GET", "schedules"),
    "schedule.find": ("GET", "schedules/{schedule_id}"),
    "schedule.run": ("POST", "schedules/{schedule_id}/run"),
    "schedule.pause": ("POST", "schedules/{schedule_id}/pause", {"reason": "moving"}),
    "schedule.resume": ("POST", "schedules/{schedule_id}/resume"),
    "schedule.enable": ("POST", "schedules/{schedule_id}/enable"),
    "schedule.disable": ("POST", "schedules/{schedule_id}/disable"),
    "schedule.define": (
        "POST", "schedules",
        {"name": "made", "task": "app.nothing", "kwargs": {"n": 1}, "recurrence": {"kind": "every", "seconds": 3600}},
    ),
    "schedule.remove": ("DELETE", "schedules/{schedule_id}"),
    "auditentry.list": ("GET", "audit"),
}  # fmt: skip
_AT_A_TERMINAL = "with --dry-run before it, by whoever watches how it goes"
_NO_SECRETS = "a program that has got hold of a token is not to make itself others, or to end those of others"
NOT_OVER_HTTP = {
    "job.prune": "deletes what nothing brings back: RETENTION does it by itself",
    "job.count_prunable": "comes before the one above",
    "job.items": "GET jobs/<id> has the counts and errors of items",
    "schedule.run_declared": "the HTTP trigger is the door for other clocks, with proofs of its own",
    "schedule.backfill": _AT_A_TERMINAL,
    "schedule.look_ahead": _AT_A_TERMINAL,
    "schedule.cancel_backfill": "a back-fill is ended where it was begun",
    "apitoken.list": _NO_SECRETS,
    "apitoken.create": _NO_SECRETS,
    "apitoken.revoke": _NO_SECRETS,
}


def request(words: Any, user: User, stage: Stage) -> tuple[Answer, str]:
    client = Client()
    client.force_login(user)
    return answered(client, words, stage)


def request_by_token(words: Any, user: User, stage: Stage) -> tuple[Answer, str]:
    row, secret = f"{user.pk:0>8}", f"{tokens.MARK}{user.pk:0>8}_secret"
    ApiToken.objects.filter(prefix=row).delete()
    ApiToken.objects.create(
        name="any", prefix=row, digest=hashlib.sha256(secret.encode()).hexdigest(), scopes=sorted(tokens.permissions()),
        user=str(user.pk), created_at=dt.datetime.now(dt.UTC),
    )  # fmt: skip
    return answered(Client(headers={"Authorization": f"Bearer {secret}"}), words, stage)


def answered(client: Client, words: Any, stage: Stage) -> tuple[Answer, str]:
    method, path, *body = words
    row = Schedule.objects.filter(name=stage.schedule).first()
    path = "/taskyard/api/v1/" + path.format(**vars(stage), schedule_id=row.pk if row else 0)
    response = client.generic(method, path, json.dumps(body[0]) if body else "", content_type="application/json")
    text = response.content.decode()
    if response.status_code in (403, 404):
        assert response.headers["Content-Type"] == "application/problem+json"
        # It names the address that was asked, whatever is there.
        text = json.dumps({**json.loads(text), "instance": ""})
        return {403: Answer.NOT_ALLOWED, 404: Answer.NOT_FOUND}[response.status_code], text
    assert response.status_code in (200, 201, 202), text
    return Answer.DONE, text


HTTP = Surface("http", REQUESTS, request, NOT_OVER_HTTP)
HTTP_BY_TOKEN = Surface("http by token", REQUESTS, request_by_token, NOT_OVER_HTTP)


@a_way_to_the_functions
@pytest.mark.parametrize("verb", REQUESTS)
def test_a_request_answers_as_the_table_says(verb: str) -> None:
    ask(HTTP, verb)


@a_way_to_the_functions
@pytest.mark.parametrize("verb", ["job.show", "job.retry", "job.list", "many.retry", "queue.pause", "schedule.define"])
def test_a_request_by_token_answers_as_the_table_says(verb: str) -> None:
    """One of each kind: behind the caller, everything is the same."""
    ask(HTTP_BY_TOKEN, verb)


@pytest.mark.parametrize("verb", TABLE)
def test_a_function_answers_as_the_table_says(verb: str) -> None:
    ask(FUNCTIONS, verb)


@a_way_to_the_functions
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_answers_as_the_table_says(verb: str) -> None:
    ask(COMMAND_LINE, verb)


def test_the_table_has_every_verb_and_each_surface_says_what_it_leaves_out() -> None:
    verbs = {f"{verb.kind}.{verb.name}" for verb in all_verbs()}
    assert {verb for verb in TABLE if not verb.startswith("many.")} == verbs
    for surface in (FUNCTIONS, COMMAND_LINE, HTTP, HTTP_BY_TOKEN):
        surface.says_of_each_verb()
