"""Errors that leave views of a project and of Django REST framework, through the real stacks."""

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.exceptions import NotAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from taskyard import errors, task
from taskyard.models import Job
from taskyard.sagas import Context, Orchestrator, orchestrator, step
from taskyard.sagas.models import Saga
from taskyard.tasks.retry import NO_RETRY
from tests.app.tasks import note

pytestmark = pytest.mark.django_db

MIDDLEWARE = "taskyard.integrations.problems.ProblemMiddleware"


class Overdrawn(Exception):
    """The account does not cover this."""


@task(name="app.charge", errors={Overdrawn: 402})
def charge(cents: int) -> None:
    if cents > 500:
        raise Overdrawn("hunter2")


@orchestrator("problems-order", errors={Overdrawn: 402})
class Order(Orchestrator):
    @step(compensation_retry=NO_RETRY)
    def reserve(self, context: Context, mishap: str = "") -> None:
        pass

    @reserve.rollback
    def release(self, context: Context, result: None) -> None:
        if context.inputs.get("mishap"):
            raise OSError("hunter2")

    @step
    def pay(self, context: Context, how: str) -> None:
        raise {"declared": Overdrawn, "foreign": KeyError, "missing": Http404}[how]("hunter2")


RAISED: dict[str, Any] = {
    "too-large": lambda: note.enqueue(text="x" * 200_000),
    "duplicate": lambda: raise_(errors.DuplicateJob(Job(task="app.nothing", unique_key="hunter2", state="running"))),
    "unknown-tenant": lambda: raise_(errors.UnknownTenant("hunter2")),
    "settings": lambda: raise_(errors.ConfigurationError(["hunter2"])),
    "declared": lambda: charge(501),
    "eager": lambda: charge.enqueue(501),
    "foreign": lambda: raise_(KeyError("hunter2")),
    "saga-declared": lambda: Order.run_inline(how="declared"),
    "saga-foreign": lambda: Order.run_inline(how="foreign"),
    "saga-missing": lambda: Order.run_inline(how="missing"),
    "saga-stuck": lambda: Order.run_inline(how="declared", mishap="the rollback fails as well"),
    "saga-result": lambda: Order.start(how="declared").result(),
}


def raise_(error: Exception) -> None:
    raise error


def view(request: HttpRequest, how: str) -> HttpResponse:
    RAISED[how]()
    return HttpResponse("fine")


async def async_view(request: HttpRequest, how: str) -> HttpResponse:
    RAISED[how]()
    return HttpResponse("fine")


class RestView(APIView):
    authentication_classes = ()

    def get(self, request: Any, how: str) -> Response:
        if how == "theirs":
            raise NotAuthenticated
        RAISED[how]()
        return Response("fine")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("the project's own page", status=404)


handler404 = not_found
urlpatterns = [path("plain/<how>", view), path("async/<how>", async_view), path("rest/<how>", RestView.as_view())]

TOLD = [("too-large", 413), ("duplicate", 409), ("unknown-tenant", 404), ("declared", 402)]


@pytest.fixture(autouse=True)
def project(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE]
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": "taskyard.integrations.problems.drf_exception_handler"}
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "rest_framework"]


def check(answer: Any, status: int, at: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.content)
    assert (answer.status_code, found["status"]) == (status, status)
    assert answer["Content-Type"] == "application/problem+json"
    assert found["instance"] == at
    assert "hunter2" not in answer.content.decode()
    return found


@pytest.mark.parametrize(("how", "status"), TOLD)
@pytest.mark.parametrize("stack", ["plain", "rest"])
def test_an_error_of_ours_is_a_problem_with_its_status(stack: str, how: str, status: int) -> None:
    for accept in ("application/json", "*/*", "application/json, text/plain, */*"):
        check(Client().get(f"/{stack}/{how}", headers={"accept": accept}), status, f"/{stack}/{how}")


def test_in_an_async_view_as_well() -> None:
    check(async_to_sync(AsyncClient().get)("/async/declared"), 402, "/async/declared")


def test_without_an_error_nothing_changes() -> None:
    RAISED["nothing"] = lambda: None
    assert Client().get("/plain/nothing").content == b"fine"


def test_a_fault_of_ours_is_told_to_whoever_collects_errors_and_not_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []
    client = Client(raise_request_exception=False)

    def hear(**said: Any) -> None:
        told.append(said)

    got_request_exception.connect(hear)
    try:
        check(client.get("/plain/settings"), 500, "/plain/settings")
        check(client.get("/rest/settings"), 500, "/rest/settings")
    finally:
        got_request_exception.disconnect(hear)
    assert len(told) == 2
    records = [record for record in caplog.records if record.name == "django.request"]
    assert [record.exc_info is not None for record in records] == [True, True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stack", ["plain", "rest"])
def test_a_task_that_fails_while_it_runs_eagerly_is_a_problem_that_names_its_job(settings: Any, stack: str) -> None:
    settings.CELERY_TASK_ALWAYS_EAGER = settings.CELERY_TASK_EAGER_PROPAGATES = True
    found = check(Client().get(f"/{stack}/eager"), 402, f"/{stack}/eager")
    assert found["job"] == str(Job.objects.get(state="failed").id)


def test_who_prefers_html_gets_pages() -> None:
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    client = Client(raise_request_exception=False, headers=browser)
    page = client.get("/plain/unknown-tenant")
    assert (page.status_code, page.content) == (404, b"the project's own page")
    page = client.get("/plain/declared")
    assert (page.status_code, page["Content-Type"]) == (500, "text/html; charset=utf-8")
    page = client.get("/rest/declared")
    assert (page.status_code, page["Content-Type"]) == (402, "text/html; charset=utf-8")
    assert "The account does not cover this." in page.content.decode()
    json_first = {"accept": "application/json, text/html;q=0.5"}
    check(Client(headers=json_first).get("/plain/declared"), 402, "/plain/declared")


def test_errors_of_others_are_left_to_others() -> None:
    client = Client(raise_request_exception=False)
    answer = client.get("/plain/foreign")
    assert (answer.status_code, answer["Content-Type"]) == (500, "text/html; charset=utf-8")
    answer = client.get("/rest/theirs")
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/json")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stack", ["plain", "rest"])
@pytest.mark.parametrize(
    ("how", "status", "state"),
    [("declared", 402, "compensated"), ("foreign", 500, "compensated"), ("stuck", 402, "needs_attention")],
)
def test_an_error_that_ended_a_saga_inline_names_it_and_how_it_stands(
    stack: str, how: str, status: int, state: str
) -> None:
    client = Client(raise_request_exception=False)
    found = check(client.get(f"/{stack}/saga-{how}"), status, f"/{stack}/saga-{how}")
    saga = Saga.objects.get()
    assert (found["saga"], found["saga_state"], saga.state) == (str(saga.id), state, state)
    # What nobody declared is not even named.
    assert ("Key" in found["type"], "overdrawn" in found["type"]) == (False, how != "foreign")


@pytest.mark.django_db(transaction=True)
def test_an_undeclared_error_of_a_saga_is_logged_with_its_traceback_and_the_sagas_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Client(raise_request_exception=False).get("/plain/saga-foreign")
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert record.exc_info is not None and isinstance(record.exc_info[1], KeyError)
    assert record.exc_info[1].__notes__ == [f"In saga {Saga.objects.get().id}, which is compensated now."]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stack", ["plain", "rest"])
def test_what_django_itself_has_an_answer_to_is_left_to_it(stack: str) -> None:
    answer = Client().get(f"/{stack}/saga-missing")
    assert (answer.status_code, answer["Content-Type"] == "application/problem+json") == (404, False)


@pytest.mark.django_db(transaction=True)
def test_the_result_of_a_saga_that_has_not_ended_is_a_conflict_that_says_when_to_ask_again() -> None:
    answer = Client().get("/plain/saga-result")
    assert (check(answer, 409, "/plain/saga-result")["saga_state"], answer["Retry-After"]) == ("running", "10")
