"""Every page, document and stream there is, looked at by people: who may not see payload sees none, nobody a secret."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client

from taskyard.models import AuditEntry, Batch, FailureGroup, Job, Schedule, Worker
from taskyard.operations import Actor, schedules, tokens
from taskyard.tasks.doors import door, open_door
from tests.integration.verb_cases import SECRET, TOLD, Stage, set_up
from tests.walk import Seen, Walk, unanswered

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.timeout(400),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="what pages show is the same with each database"),
]


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Rows of all kinds, with a text in everything that is payload."""
    stop = door("stop_worker")
    open_door("stop_worker", TOLD.append)
    yield set_up(dt.datetime.now(dt.UTC))
    open_door("stop_worker", stop)


def by_session(*, blind: bool) -> Client:
    user = User.objects.create_user("blind" if blind else "root", is_staff=True, is_superuser=not blind)
    user.user_permissions.set(Permission.objects.exclude(codename="view_payload"))
    client = Client()
    client.force_login(user)
    return client


def by_token(*, blind: bool) -> Client:
    scopes = tokens.permissions() - ({"view_payload"} if blind else set())
    secret = tokens.create(Actor.system(), "a program", scopes=sorted(scopes)).secret
    return Client(headers={"Authorization": f"Bearer {secret}"})


def told(seen: list[Seen], word: str) -> set[str]:
    """Where it stands."""
    return {f"{each.method} {each.address}: {each.status}" for each in seen if word in each.text}


def test_every_address_answers_and_payload_is_shown_to_nobody_who_may_not_see_it(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    schedules.run(Actor.system(), Schedule.objects.get(name=stage.schedule))
    full = Walk(by_session(blind=False)).go().seen + Walk(by_token(blind=False), under="taskyard/").go().seen
    assert not unanswered(full), "\n".join(unanswered(full))
    # A broken page would show nothing.
    assert not [each for each in full if each.status == 500]
    blind = Walk(by_session(blind=True)).go().seen + Walk(by_token(blind=True), under="taskyard/").go().seen
    nobody = Walk(Client()).go().seen
    assert len(told(full, SECRET)) > 10
    assert told(blind + nobody, SECRET) == set()
    assert SECRET not in caplog.text


#: Columns that are safe to be read, and where each is shown. What is written past the redaction must be found there.
SHOWN = {
    (Job, "progress_message"): ["/admin/taskyard/job/", "/taskyard/api/v1/jobs", "/taskyard/progress/?",
                                "/taskyard/progress/events/?", "/taskyard/api/v1/events?"],
    (FailureGroup, "note"): ["/admin/taskyard/failuregroup/", "/taskyard/api/v1/failures"],
    (AuditEntry, "reason"): ["/admin/taskyard/auditentry/", "/taskyard/api/v1/audit"],
    (Batch, "name"): ["/admin/taskyard/batch/", "/taskyard/api/v1/batches"],
    (Schedule, "pause_reason"): ["/admin/taskyard/schedule/", "/taskyard/api/v1/schedules"],
    (Worker, "name"): ["/admin/taskyard/worker/", "/taskyard/api/v1/workers", "/taskyard/api/v1/status",
                       "/taskyard/healthz"],
}  # fmt: skip


def test_a_secret_in_a_column_that_is_not_redacted_is_found_wherever_it_is_shown(stage: Stage) -> None:
    Job.objects.filter(id=stage.pending).update(progress_current=1)
    for model, column in SHOWN:
        model._base_manager.update(**{column: f"token=Canary{model.__name__}7"})
    Schedule.objects.update(paused_at=dt.datetime.now(dt.UTC))
    browser = by_session(blind=False)
    seen = [each for at in ("taskyard/", "admin/taskyard/") for each in Walk(browser, under=at, most=2).go().seen]
    for (model, _), places in SHOWN.items():
        found = told(seen, f"Canary{model.__name__}7")
        missed = [place for place in places if not any(each.startswith(f"GET {place}") for each in found)]
        assert not missed, (model, found)
