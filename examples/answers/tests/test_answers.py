"""S3, S5: a batch that a user starts, and the row that says how far it is."""

import datetime as dt
from typing import Any

import pytest
from answers import tasks
from answers.models import Answer, Questionnaire
from answers.starting import cancel_answers, second_stage, start_answers
from django.test import Client

from taskyard import Batch
from taskyard.models import Job

pytestmark = pytest.mark.django_db


def page(client: Client, questionnaire: Questionnaire) -> str:
    return str(client.get(questionnaire.get_absolute_url()).content.decode())


def test_two_clicks_start_one_and_the_second_is_told_with_the_status_of_our_choice(
    ada: Any, client: Client, questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    address = f"/questionnaires/{questionnaire.pk}/start/"
    assert client.post(address).status_code == 302
    second = client.post(address)
    assert second.status_code == 400
    assert "Three questions: its answers are already running." in second.content.decode()
    taskyard_jobs.assert_enqueued(tasks.generate_answer, count=3)
    # The page with the refusal has an address of its own; whoever reloads it sees the page.
    assert client.get(address, follow=True).request["PATH_INFO"] == questionnaire.get_absolute_url()


def test_a_bad_item_stops_no_other_and_stage_two_starts_when_stage_one_is_done(
    ada: Any, client: Client, questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    client.post(f"/questionnaires/{questionnaire.pk}/start/")
    taskyard_jobs.assert_not_enqueued(tasks.batch_generate_final_answers)
    ran = taskyard_jobs.run_jobs(raise_errors=False)
    assert [job.task.partition(".")[2] for job in ran] == ["generate_answer"] * 3 + ["batch_generate_final_answers"]
    questionnaire.refresh_from_db()
    assert (questionnaire.state, questionnaire.total, questionnaire.processed) == ("completed", 3, 3)
    assert (questionnaire.successful, questionnaire.failed, questionnaire.percentage) == (2, 1, 100)
    first, third = Answer.objects.order_by("question__number")
    assert first.text == "Whales are mammals. [1]"
    assert third.text.startswith("Bread rises because yeast makes gas. [1]")
    html = page(client, questionnaire)
    assert "No document says anything about this." in html
    assert "3 of 3 (100 %), 1 failed" in html
    # And once more, from the beginning.
    assert client.post(f"/questionnaires/{questionnaire.pk}/start/").status_code == 302


def test_while_stage_two_runs_it_is_running_too(
    ada: Any, client: Client, questionnaire: Questionnaire, taskyard_jobs: Any, settings: Any
) -> None:
    start_answers(questionnaire, created_by=ada)
    taskyard_jobs.run_jobs(raise_errors=False)
    job = second_stage(questionnaire).get()
    Job.objects.filter(id=job.id).update(state="running", finished_at=None)
    assert client.post(f"/questionnaires/{questionnaire.pk}/start/").status_code == 400
    assert ">Cancel</button>" in page(client, questionnaire)
    client.post(f"/questionnaires/{questionnaire.pk}/cancel/")
    assert second_stage(questionnaire).get().cancel_requested_at is not None


def test_the_row_says_who_started_it_when_and_what_became_of_it(
    ada: Any, questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    assert (questionnaire.state, questionnaire.percentage) == ("pending", 0)
    batch = start_answers(questionnaire, created_by=ada)
    assert (questionnaire.state, questionnaire.batch, questionnaire.started_by) == ("processing", batch.id, str(ada.pk))
    assert questionnaire.started_at is not None
    assert not questionnaire.is_stale
    Questionnaire.objects.update(updated_at=questionnaire.updated_at - dt.timedelta(minutes=31))
    questionnaire.refresh_from_db()
    assert questionnaire.is_stale
    taskyard_jobs.run_jobs(raise_errors=False)
    questionnaire.refresh_from_db()
    assert questionnaire.state == "completed"
    assert questionnaire.ended_at is not None
    (error,) = questionnaire.reading().errors
    assert "no document says anything about this" in error.error


def test_cancelled_it_says_so_and_stage_two_does_not_start(
    ada: Any, client: Client, questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    start_answers(questionnaire, created_by=ada)
    assert "It is being cancelled" in client.post(
        f"/questionnaires/{questionnaire.pk}/cancel/", follow=True
    ).content.decode()  # fmt: skip
    assert taskyard_jobs.run_jobs() == []
    questionnaire.refresh_from_db()
    assert (questionnaire.state, Batch.objects.get().state) == ("cancelled", "cancelled")
    assert not second_stage(questionnaire).exists()
    assert not cancel_answers(questionnaire, by=ada)
    assert "Not answered: it was cancelled." in page(client, questionnaire)


def test_an_action_of_the_admin_starts_it_and_says_when_it_runs_already(
    ada: Any, client: Client, questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    def act() -> str:
        sent = {"action": "answer", "_selected_action": [questionnaire.pk]}
        return str(client.post("/admin/answers/questionnaire/", sent, follow=True).content.decode())

    assert "its answers were started" in act()
    assert "its answers are already running" in act()
    taskyard_jobs.assert_enqueued(tasks.generate_answer, count=3)


def test_from_a_schedule_it_goes_through_the_same_door(questionnaire: Questionnaire, taskyard_jobs: Any) -> None:
    assert tasks.batch_generate_answers(questionnaire.pk)["started"]
    assert tasks.batch_generate_answers(questionnaire.pk) == {
        "success": True, "started": None, "skipped": "Three questions: its answers are already running."
    }  # fmt: skip
    assert Batch.objects.get().created_by == "1"


def test_stage_two_goes_on_where_a_killed_worker_stood(questionnaire: Questionnaire, taskyard_jobs: Any) -> None:
    from taskyard.testing import faults

    for question in questionnaire.questions.exclude(number=2):
        tasks.generate_answer(question.pk)
    job = tasks.batch_generate_final_answers.enqueue(questionnaire_id=questionnaire.pk)
    with faults.dying("body.ended"):
        taskyard_jobs.run_jobs()
    done = taskyard_jobs.assert_state(job, "succeeded")
    assert (done.attempt, done.checkpoint, done.result["processed"]) == (2, 2, 0)
    assert [attempt.error_type for attempt in done.attempts.all()] == ["WorkerLost"]
