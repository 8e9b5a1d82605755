"""The table of who may do what, asked of the admin."""

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from taskyard.models import ApiToken, Schedule, Worker
from taskyard.tasks.doors import door, open_door
from tests.integration.forms import sent_by
from tests.integration.verb_cases import TOLD, Answer, Stage, Surface, ask, tenant_of

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.any_database("pages call the functions that test_verb_cases asks on each; test_admin loads and saves"),
]

ROOT = "/admin/taskyard/"
_GONE = re.compile("there is no such schedule|schedule with ID .* doesn’t exist", re.IGNORECASE)
#: Sent from a page that asks.
SAID = {"said": "yes", "reason": "because"}


@pytest.fixture(autouse=True)
def world() -> Iterator[None]:
    stop = door("stop_worker")
    open_door("stop_worker", TOLD.append)
    with override_settings(TASKYARD={"TENANT_OF_USER": tenant_of}):
        yield
    open_door("stop_worker", stop)


def look(page: str) -> Callable[..., Any]:
    return lambda client, names: client.get(ROOT + page.format(**names))


def send(page: str, **typed: str) -> Callable[..., Any]:
    return lambda client, names: client.post(ROOT + page.format(**names), {**SAID, **typed}, follow=True)


def define(client: Client, names: dict[str, Any]) -> Any:
    page = client.get(f"{ROOT}schedule/add/")
    if page.status_code != 200:
        return page
    typed = {"name": "made", "task": "app.nothing", "kwargs": '{"n": 1}', "kind": "every", "interval": "1 h"}
    return client.post(f"{ROOT}schedule/add/", sent_by(page.content.decode(), "schedule_form", **typed), follow=True)


def fork(client: Client, names: dict[str, Any]) -> Any:
    at = f"{ROOT}saga/{names['saga']}/fork/"
    page = client.get(at)
    if page.status_code != 200:
        return page
    return client.post(at, sent_by(page.content.decode(), "ask_form", step="reserve"), follow=True)


PAGES: dict[str, Callable[..., Any]] = {
    "job.list": look("job/"),
    "job.show": look("job/{failed}/change/"),
    "job.retry": send("job/{failed}/retry/"),
    "job.cancel": send("job/{pending}/cancel/"),
    "job.discard": send("job/{failed}/discard/"),
    "job.edit": send("job/{failed}/edit/", kwargs='{"n": 3}', args="[]"),
    "job.copy": send("job/{failed}/copy/", kwargs='{"n": 3}', args="[]"),
    # They stand on the page of the job.
    "job.items": look("job/{failed}/change/"),
    "many.retry": send("job/all/retry/?state=failed"),
    "many.cancel": send("job/all/cancel/?state=pending"),
    "many.discard": send("job/all/discard/?task=app.nothing"),
    "batch.list": look("batch/"),
    "batch.show": look("batch/{batch}/change/"),
    "batch.cancel": send("batch/{batch}/cancel/"),
    "saga.list": look("saga/"),
    "saga.show": look("saga/{saga}/change/"),
    "saga.retry_step": send("saga/{saga}/retry_step/charge/"),
    "saga.skip_step": send("saga/{saga}/skip_step/charge/"),
    "saga.compensate": send("saga/{saga}/compensate/"),
    "saga.resume": send("saga/{saga}/resume/"),
    "saga.cancel": send("saga/{saga}/cancel/"),
    "saga.signal": send("saga/{saga}/signal/", name="approved"),
    "saga.fork": fork,
    "failure.list": look("failuregroup/?state=any"),
    "failure.show": look("failuregroup/{group}/change/"),
    "failure.retry": send("failuregroup/{group}/retry/"),
    "failure.discard": send("failuregroup/{group}/discard/"),
    "failure.snooze": send("failuregroup/{group}/snooze/", length="1 d"),
    "failure.resolve": send("failuregroup/{group}/resolve/"),
    "failure.reopen": send("failuregroup/{group}/reopen/"),
    "failure.note": send("failuregroup/{group}/note/", text="seen"),
    "queue.list": look("queuesetting/"),
    "queue.pause": send("queuesetting/pause/{queue}/"),
    "queue.resume": send("queuesetting/resume/held/"),
    "queue.limit": send("queuesetting/limit/{queue}/", max_running="3"),
    "queue.clear": send("queuesetting/clear/{queue}/"),
    "tenant.list": look("tenantsetting/"),
    "tenant.pause": send("tenantsetting/pause/globex/"),
    "tenant.resume": send("tenantsetting/resume/{tenant}/"),
    "tenant.limit": send("tenantsetting/limit/{tenant}/", weight="3", max_running="3"),
    "worker.list": look("worker/"),
    "worker.stop": send("worker/{worker_id}/stop/"),
    "schedule.list": look("schedule/"),
    "schedule.find": look("schedule/{schedule_id}/change/"),
    "schedule.run": send("schedule/{schedule_id}/run/"),
    "schedule.pause": send("schedule/{schedule_id}/pause/"),
    "schedule.resume": send("schedule/{schedule_id}/resume/"),
    "schedule.enable": send("schedule/{schedule_id}/enable/"),
    "schedule.disable": send("schedule/{schedule_id}/disable/"),
    "schedule.define": define,
    "schedule.remove": send("schedule/{schedule_id}/delete/", post="yes"),
    "auditentry.list": look("auditentry/"),
    "apitoken.list": look("apitoken/"),
    "apitoken.revoke": send("apitoken/{token_id}/revoke/"),
}


def use(page: Any, user: User, stage: Stage) -> tuple[Answer, str]:
    client = Client()
    client.force_login(user)
    row = Schedule.objects.filter(name=stage.schedule).first()
    worker = Worker.objects.get(name=stage.worker)
    token = ApiToken.objects.filter(prefix=stage.token).first()
    keys = {"schedule_id": row.pk if row else 0, "worker_id": worker.pk, "token_id": token.pk if token else 0}
    response = page(client, {**vars(stage), **keys})
    if response.status_code == 403:
        return Answer.NOT_ALLOWED, ""
    if response.status_code == 302:
        response = client.get(response.headers["Location"])
    text = html.unescape(response.content.decode())
    # The pages of schedules send those back whom they have nothing to show.
    if response.status_code == 404 or _GONE.search(text):
        return Answer.NOT_FOUND, ""
    assert response.status_code == 200, text
    return Answer.DONE, text


_AT_A_TERMINAL = "with --dry-run before it, by whoever watches how it goes"
WITHOUT = {
    "job.enqueue": "arguments are what code says, with types; a job that is there already is copied",
    "job.prune": "deletes what nothing brings back: RETENTION does it by itself",
    "job.count_prunable": "comes before the one above",
    "schedule.run_declared": "those of other clocks may have no row, and so no page; those with one have Run now",
    "schedule.backfill": _AT_A_TERMINAL,
    "schedule.look_ahead": _AT_A_TERMINAL,
    "schedule.cancel_backfill": "a back-fill is ended where it was begun",
    "apitoken.create": "a secret that is shown on a page stays in browsers and in what stands before them",
}
ADMIN = Surface("admin", PAGES, use, WITHOUT)


@pytest.mark.parametrize("verb", PAGES)
def test_a_page_answers_as_the_table_says(verb: str) -> None:
    ask(ADMIN, verb)


def test_the_admin_says_what_it_leaves_out() -> None:
    ADMIN.says_of_each_verb()
