"""What is said when a saga starts: for whom, with what, how much of it."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from taskyard.errors import PayloadTooLarge, SagaFailed, TaskyardError, UnknownOrchestrator
from taskyard.sagas import Context, Orchestrator, get_orchestrator, orchestrator, step
from taskyard.sagas.models import Saga
from taskyard.testing import run_jobs
from tests.app.orchestrators import Trip
from tests.workers import Project

pytestmark = pytest.mark.django_db(transaction=True)


@orchestrator("started", tenant_from="org")
class Started(Orchestrator):
    @step
    def work(self, context: Context, size: int = 0) -> Any:
        return {"org": context.tenant, "user": str(context.user), "room": "x" * size}


def test_an_orchestrator_is_found_by_its_name_and_a_name_that_nobody_declared_is_refused() -> None:
    assert get_orchestrator("trip") is Trip
    with pytest.raises(UnknownOrchestrator, match="Did you mean 'trip'"):
        get_orchestrator("tripp")


def test_a_process_that_has_imported_none_finds_them(project: Project) -> None:
    said = "from taskyard.sagas import get_orchestrator; assert get_orchestrator('trip').__name__ == 'Trip'"
    project.run_python(said)


def test_what_says_whose_it_is_need_not_be_taken_by_a_step_and_has_to_be_there() -> None:
    run = Started.start(org="acme")
    run_jobs()
    assert run.result()["org"] == "acme"
    with pytest.raises(TypeError, match="'org' is missing"):
        Started.start()


def test_it_acts_for_its_user_and_fails_where_that_one_is_gone_or_may_not_act_any_more() -> None:
    users = [User.objects.create_user(name) for name in ("ada", "bo", "cy")]
    runs = [Started.using(user=user).start(org="acme") for user in users]
    users[1].delete()
    User.objects.filter(username="cy").update(is_active=False)
    run_jobs()
    assert (runs[0].result()["user"], runs[0].saga.created_by) == ("ada", str(users[0].pk))
    for run in runs[1:]:
        with pytest.raises(SagaFailed, match="UserGone"):
            run.result()


def test_inputs_and_results_that_are_too_large_are_refused() -> None:
    with pytest.raises(PayloadTooLarge):
        Started.start(org="x" * 200_000)
    assert not Saga.objects.exists()
    run = Started.start(org="acme", size=2_000_000)
    run_jobs()
    with pytest.raises(SagaFailed, match=r"returned 2,000,\d+ bytes, the limit is 1,048,576"):
        run.result()


def test_a_user_who_is_not_saved_cannot_be_acted_for() -> None:
    with pytest.raises(TaskyardError, match="is not saved yet"):
        Started.using(user=User(username="nobody")).start(org="acme")
