"""Errors that leave views of a project and of Django REST framework, through the real stacks."""

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from rest_framework.exceptions import NotAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from taskyard import errors, task
from taskyard.models import Job
from tests.app.tasks import note

pytestmark = pytest.mark.django_db

MIDDLEWARE = "taskyard.integrations.problems.ProblemMiddleware"


class Overdrawn(Exception):
    """The account does not cover this."""


@task(name="app.charge", errors={Overdrawn: 402})
def charge(cents: int) -> None:
    if cents > 500:
        raise Overdrawn("hunter2")


RAISED: dict[str, Any] = {
    "too-large": lambda: note.enqueue(text="x" * 200_000),
    "duplicate": lambda: raise_(errors.DuplicateJob(Job(task="app.nothing", unique_key="hunter2", state="running"))),
    "unknown-tenant": lambda: raise_(errors.UnknownTenant("hunter2")),
    "settings": lambda: raise_(errors.ConfigurationError(["hunter2"])),
    "declared": lambda: charge(501),
    "eager": lambda: charge.enqueue(501),
    "foreign": lambda: raise_(KeyError("hunter2")),
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
