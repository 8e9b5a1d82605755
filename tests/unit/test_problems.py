"""What a client is told of an error: the right status, and nothing that is not its own."""

import datetime as dt
import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard import errors, task
from taskyard.errors import InvalidTask
from taskyard.integrations.problems import problem_of
from taskyard.integrations.problems.kinds import KINDS
from taskyard.tasks import registry

SECRET = "hunter2"
JOB = SimpleNamespace(id="0199-7", task="shop.pay", unique_key=SECRET, state="running")


class TooPoor(Exception):
    """The account does not cover this.

    More than a client needs to know.
    """


class MuchTooPoor(TooPoor):
    pass


class Unsaid(Exception):
    pass


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_tasks", {})
    monkeypatch.setattr(registry, "_observers", [])


def declared(name: str = "shop.pay", **options: Any) -> Any:
    return task(name=name, **options)(lambda: None)


def ours() -> dict[str, type[BaseException]]:
    found = inspect.getmembers(errors, lambda one: inspect.isclass(one) and issubclass(one, BaseException))
    return {name: kind for name, kind in found if kind.__module__ == errors.__name__ and kind is not errors.Steering}


def test_every_error_of_ours_stands_in_the_table_and_nothing_else() -> None:
    assert set(KINDS) == set(ours())


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.DuplicateJob(JOB), 409, "duplicate-job"),
        (errors.UnknownTask(f"shop.{SECRET}", ["shop.pay"]), 422, "unknown-task"),
        (errors.ConfigurationError([f"BROKER is {SECRET}"]), 500, "configuration-error"),
        (errors.UnknownTenant(SECRET), 404, "unknown-tenant"),
        (errors.TenantMismatch("The job", SECRET, current="acme"), 404, "tenant-mismatch"),
        (errors.BrokerUnreachable(f"amqp://u:{SECRET}@h", "refused"), 503, "broker-unreachable"),
        (errors.PublishFailed(SECRET), 503, "publish-failed"),
        (errors.CommandFailed("line", "exit code 1", SECRET), 500, "command-failed"),
        (errors.Discard(SECRET), 422, "discard"),
    ],
)
def test_an_error_has_its_status_and_its_own_words_stay_here(error: Exception, status: int, kind: str) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert (problem.status, problem.type) == (status, f"urn:taskyard:error:{kind}")
    assert SECRET not in str(problem.document("/pay"))


def test_what_the_client_sent_is_explained() -> None:
    problem = problem_of(errors.PayloadTooLarge("shop.pay", 200_000, 131_072))
    assert problem is not None
    assert problem.status == 413
    assert "200,000 bytes" in problem.detail


def test_the_job_is_named_and_the_path() -> None:
    problem = problem_of(errors.DuplicateJob(JOB))
    assert problem is not None
    assert problem.document("/pay") == {
        "type": "urn:taskyard:error:duplicate-job", "title": "Already running", "status": 409,
        "detail": "A job for the same thing has not ended yet.", "instance": "/pay", "job": "0199-7",
    }  # fmt: skip
    assert problem.response("/pay")["Content-Type"] == "application/problem+json"
    cancelled = problem_of(errors.JobCancelled("0199-8"))
    assert cancelled is not None
    assert (cancelled.status, cancelled.job) == (409, "0199-8")


def test_a_body_that_asks_to_be_tried_again_says_when() -> None:
    problem = problem_of(errors.Retry(after=dt.timedelta(seconds=90)))
    assert problem is not None
    assert problem.response()["Retry-After"] == "90"
    assert problem.status == 503
    always = problem_of(errors.Retry())
    assert always is not None
    assert always.headers == {"Retry-After": "10"}


def test_others_errors_are_left_to_others() -> None:
    assert problem_of(KeyError(SECRET)) is None
    assert problem_of(TooPoor(SECRET)) is None


def test_a_tasks_own_error_has_the_status_it_declares_and_its_docstring_for_words() -> None:
    declared(errors={TooPoor: 402, Unsaid: 418})
    problem = problem_of(MuchTooPoor(SECRET))
    assert problem is not None
    assert problem.document() == {
        "type": "urn:taskyard:task-error:too-poor", "title": "Too poor", "status": 402,
        "detail": "The account does not cover this.",
    }  # fmt: skip
    unsaid = problem_of(Unsaid(SECRET))
    assert unsaid is not None
    assert (unsaid.status, unsaid.detail) == (418, "Unsaid.")


def test_the_nearest_class_decides() -> None:
    declared(errors={TooPoor: 402})
    declared("shop.pay_much", errors={MuchTooPoor: 403})
    statuses = [found.status for error in (TooPoor(), MuchTooPoor()) if (found := problem_of(error))]
    assert statuses == [402, 403]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([TooPoor], "must be a dict"),
        ({"TooPoor": 402}, "no class of exceptions"),
        ({Exception: 500}, "no class of exceptions"),
        ({KeyboardInterrupt: 500}, "no class of exceptions"),
        ({TooPoor: 200}, "from 400 to 599"),
        ({TooPoor: True}, "from 400 to 599"),
        ({TooPoor: 404}, "is 404 here and 402 in task 'shop.pay'"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(wrong: Any, says: str) -> None:
    declared(errors={TooPoor: 402})
    with pytest.raises(InvalidTask, match=says):
        declared("shop.other", errors=wrong)
