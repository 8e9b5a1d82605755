"""`taskyard sagas`: what each verb prints and which exit code it has."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.entrypoint import cli
from taskyard.entrypoint.screen import Screen
from taskyard.jobs.models import Job
from taskyard.sagas import Handle
from taskyard.sagas.models import Saga, SagaStep
from taskyard.testing import run_jobs
from tests.app import operated
from tests.app.operated import Order

pytestmark = pytest.mark.django_db(transaction=True)

CARD = "4000 1234 5678"


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    yield
    for each in (operated.FAILS, operated.DONE, operated.KEYS):
        each.clear()


def taskyard(*words: object) -> tuple[int, str]:
    out = io.StringIO()
    code = cli.run([str(word) for word in words], prog="taskyard", has_project=True, screen=Screen(out, out))
    return code, out.getvalue()


def order(**inputs: Any) -> Handle:
    run = Order.start(**{"item": "book", "card": CARD, **inputs})
    run_jobs()
    return run


def test_show_says_first_why_it_waits_and_draws_each_step_within_80_columns() -> None:
    operated.FAILS |= {"pack", "-charge"}
    run = order(wants=False)
    code, text = taskyard("sagas", "show", run.id)
    lines = text.splitlines()
    assert code == 0
    assert " ".join(lines[1].split()).startswith("waits for attempt 2 of compensation of 'charge' at ")
    start = lines.index("Timeline")
    drawing = lines[start + 2 : start + 10]
    assert [line.split()[0] for line in drawing] == [each.name for each in Order.definition.plan.steps]
    assert max(map(len, lines[start : start + 12])) <= 80
    charge, insured, pack = drawing[2], drawing[3], drawing[4]
    assert "█" in charge and "×" in charge and charge.rstrip().endswith("compensation_retrying")
    assert "▒" in insured
    assert "█" in pack and "▒" not in pack
    assert "× failed or was lost" in " ".join(lines[start + 10 : start + 12])
    assert CARD not in text
    assert "turned round" in text


def test_show_as_json_holds_everything_and_the_timeline() -> None:
    run = order()
    said = json.loads(taskyard("sagas", "show", run.id, "--json")[1])
    assert said["waits_for"].startswith("waits for signal 'approved' since ")
    assert [each["name"] for each in said["steps"]][:2] == ["reserve", "approved"]
    assert said["timeline"][1]["bars"][0]["kind"] == "waiting"


def test_list_finds_by_state_subject_and_name() -> None:
    run = order()
    assert taskyard("sagas", "list", "--state", "completed") == (1, "No saga matches.\n")
    for words in ([], ["--name", "order"], ["--state", "waiting"], ["--since", "1h"]):
        code, text = taskyard("sagas", "list", *words)
        assert (code, str(run.id) in text) == (0, True)
    Saga.objects.filter(id=run.id).update(subject_type="shop.cart", subject_id="17")
    (found,) = json.loads(taskyard("sagas", "list", "--subject", "shop.Cart", "17", "--json")[1])
    assert found["id"] == str(run.id)
    assert taskyard("sagas", "list", "--subject", "shop.cart", "18")[0] == 1


def test_verbs_act_and_a_refused_one_exits_with_1() -> None:
    operated.FAILS.add("thank")
    run = order()
    assert taskyard("sagas", "signal", run.id, "approved", "--payload", '{"by": "zoe"}', "--key", "1") == (0, "Told.\n")
    assert "told that already" in taskyard("sagas", "signal", run.id, "approved", "--key", "1")[1]
    run_jobs()
    assert taskyard("sagas", "skip", run.id, "calm", "--reason", "no hurry") == (0, "Skipped.\n")
    run_jobs()
    code, text = taskyard("sagas", "cancel", run.id)
    assert (code, "is left as it is: it is past 'ship'" in text) == (1, True)
    code, text = taskyard("sagas", "fork", run.id, "pack", "--json")
    assert (code, Saga.objects.get(id=json.loads(text)["fork"]).forked_from) == (0, run.id)
    code, text = taskyard("sagas", "fork", run.id, "pack", "--inputs", '{"colour": 1}')
    assert (code, "'colour' is not among them" in text) == (2, True)
    operated.FAILS.clear()
    assert taskyard("sagas", "retry", run.id, "thank")[0] == 0
    run_jobs()
    assert run.state == "completed"
    assert "There is no saga" in taskyard("sagas", "show", "0" * 32)[1]


def test_a_skip_without_a_reason_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        taskyard("sagas", "skip", "0" * 32, "calm")
    assert (error.value.code, "--reason" in capsys.readouterr().err) == (2, True)


def test_a_sagas_job_names_its_saga_and_its_step() -> None:
    run = order(wants=False)
    coordinator = Job.objects.filter(task="saga.order").order_by("created_at").first()
    assert coordinator is not None
    pack = SagaStep.objects.get(saga=run.id, name="pack")
    assert f"the coordinator of {run.id}: taskyard sagas show {run.id}" in taskyard("jobs", "show", coordinator.id)[1]
    assert f"step 'pack' of {run.id}: taskyard sagas show {run.id}" in taskyard("jobs", "show", pack.job)[1]
