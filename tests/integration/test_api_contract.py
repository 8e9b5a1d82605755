"""The OpenAPI document against real responses, and against the routes."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from django.urls import URLPattern
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from taskyard.api.openapi import document
from taskyard.api.routes import all_routes
from taskyard.api.urls import PREFIX, urlpatterns
from taskyard.models import Schedule
from taskyard.operations import Actor, tokens
from taskyard.tasks.doors import door, open_door
from tests.app.tasks import nothing
from tests.integration.verb_cases import set_up

pytestmark = pytest.mark.django_db

#: Of each operation; by hand and in `make verify` more.
EXAMPLES = int(os.environ.get("TASKYARD_TEST_API_EXAMPLES", "2"))
SERVER = "/taskyard/api/v1"


def test_the_document_and_the_addresses_are_the_same() -> None:
    routed = set()
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        path = str(pattern.pattern).removeprefix(PREFIX)
        resource = getattr(pattern.callback, "resource", None)
        routed |= {(method, path) for method in getattr(resource, "routes", ())}
    assert routed == {(each.method, each.path) for each in all_routes()}
    written = {
        (method.upper(), re.sub(r"{(\w+)}", r"<\1>", path).removeprefix("/"))
        for path, methods in document(SERVER)["paths"].items()
        for method in methods
    }
    assert written == {(method, re.sub(r"<\w+:", "<", path)) for method, path in routed}


def test_the_document_says_of_each_operation_what_it_does_and_takes() -> None:
    operations = [each for methods in document(SERVER)["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    for each in operations:
        assert each["summary"].endswith("."), each["operationId"]
        assert "`taskyard." in each["description"] or "the verb's permission" in each["summary"] + each["description"]


def test_the_document_names_permissions_that_exist() -> None:
    for each in all_routes():
        assert set(each.permissions) <= tokens.permissions(), each.name


def test_the_document_is_served_to_everybody(client: Any) -> None:
    response = client.get(f"{SERVER}/openapi.json")
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(document(SERVER)))


CHECKS = [
    checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance,
    checks.negative_data_rejection,
]  # fmt: skip


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """The server's handler leaves the test's connection alone, as that of Django's test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize(
    "mode",
    [
        GenerationMode.POSITIVE,
        pytest.param(GenerationMode.NEGATIVE, marks=pytest.mark.any_database("refused before a row is looked at")),
    ],
)
@pytest.mark.any_django("the document, what it promises and the checks of what is sent are ours")
@pytest.mark.timeout(3600)
def test_real_answers_are_as_the_document_says(mode: GenerationMode, settings: Any, kept_connection: None) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    stop, now = door("stop_worker"), timezone.now()
    open_door("stop_worker", lambda name: None)
    stage = set_up(now)
    secret = tokens.create(Actor.system(), "schemathesis", scopes=sorted(tokens.permissions())).secret
    real = {
        "jobs": str(stage.failed), "batches": str(stage.batch), "failures": stage.group, "workers": stage.worker,
        "schedules": str(Schedule.objects.get(name=stage.schedule).pk), "queues": "celery", "tenants": "acme",
        "sagas": str(stage.saga),
    }  # fmt: skip
    schema = schemathesis.openapi.from_wsgi(f"{SERVER}/openapi.json", WSGIHandler())
    seen: set[tuple[str, int]] = set()
    try:
        for each in schema.get_all_operations():
            hold(each.ok(), mode, real=real, secret=secret, seen=seen)
    finally:
        open_door("stop_worker", stop)
    if mode == GenerationMode.POSITIVE:
        # Else this compares refusals alone.
        answered = {name for name, status in seen if status < 300}
        assert {each.name for each in all_routes()} - answered <= MAY_BE_REFUSED


#: Where random words rarely make sense, or a state is in the way; a single thread serves no streams.
MAY_BE_REFUSED = {
    "enqueueJob", "editJob", "copyJob", "retryJobs", "cancelJobs", "discardJobs", "defineSchedule", "followJobs",
    "snoozeFailure", "limitQueue", "limitTenant", "startBulk", "previewBulk", "cancelJob", "pauseSchedule",
    "listJobs", "listBatches", "listFailures", "listFailedJobs", "listSchedules", "listAudit",
    "listSagas", "signalSaga", "forkSaga",
}  # fmt: skip


def hold(
    operation: Any, mode: GenerationMode, *, real: dict[str, str], secret: str, seen: set[tuple[str, int]]
) -> None:
    """Some requests of one operation, each on the same rows; those that make sense are about what is there."""
    name, tag = operation.definition.raw["operationId"], operation.path.strip("/").partition("/")[0]

    @settings(max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode == GenerationMode.POSITIVE:
            names = case.path_parameters or {}
            case.path_parameters = {name: "charge" if name == "step" else real.get(tag) for name in names}
            if isinstance(case.body, dict) and "task" in case.body:
                case.body = {**case.body, "task": nothing.name, "args": [], "kwargs": {"n": 1}}
        with transaction.atomic():
            response = case.call(headers={"Authorization": f"Bearer {secret}"})
            transaction.set_rollback(True)
        assert response.status_code < 500, response.content
        seen.add((name, response.status_code))
        case.validate_response(response, checks=CHECKS)

    ask()
