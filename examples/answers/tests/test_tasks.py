"""S1, S2, S9, S10: what a task looks like, what is tried again, what is safe to run again, how tests run them."""

import datetime as dt
import logging
from typing import Any

import pytest
from answers import tasks as answers
from answers.models import Answer, Questionnaire
from answers.writing import NothingFound
from celery.exceptions import SoftTimeLimitExceeded
from config.retrying import TRANSIENT
from django.core import checks
from django.core.management import call_command
from django.test import TestCase, override_settings
from documents import tasks as documents
from documents.models import Document, Embedding, Source

from taskyard.models import Job
from taskyard.testing import TaskyardTestMixin

pytestmark = pytest.mark.django_db

NINE = {
    "documents.embed_document", "documents.batch_embed_documents", "documents.sync_source",
    "documents.sync_all_sources", "documents.validate_source", "documents.validate_all_sources",
    "answers.generate_answer", "answers.batch_generate_answers", "answers.batch_generate_final_answers",
}  # fmt: skip


def test_taskyard_tasks_list_shows_each_of_the_nine_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("taskyard", "tasks", "list")
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert lines.keys() >= NINE
    assert "embedding" in lines["documents.embed_document"]
    assert "batch" in lines["answers.batch_generate_answers"]


def test_each_called_directly_runs_its_body_without_a_job_and_returns_what_it_did(
    feed: Any, questionnaire: Questionnaire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, question = feed.source("live", {"a": "Something to read."}), questionnaire.questions.get(number=1)
    for name in ("documents", "answers"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, logger=name)
    said = [
        documents.embed_document(Document.objects.earliest("pk").pk), documents.batch_embed_documents(),
        documents.sync_source(source.pk), documents.validate_source(source.pk), documents.validate_all_sources(),
        answers.generate_answer(question.pk), answers.batch_generate_final_answers(questionnaire.pk),
    ]  # fmt: skip
    assert [one["success"] for one in said] == [True] * 7
    assert f"questionnaire {questionnaire.pk}, question 1: 1 passages" in caplog.text
    # What they enqueue, they enqueue: the sync brought a new document.
    assert set(Job.objects.values_list("task", flat=True)) <= {"documents.embed_document"}
    assert documents.sync_all_sources()["started"] == ["live"]
    assert answers.batch_generate_answers(questionnaire.pk)["started"]


def test_transient_errors_are_tried_again_after_60_to_600_seconds_at_most_three_times(
    feed: Any, taskyard_clock: Any, taskyard_jobs: Any
) -> None:
    job = documents.sync_source.enqueue(source_id=feed.source("ill", 503).pk)
    waits = []
    for _ in range(3):
        taskyard_jobs.run_jobs(retries=False)
        waiting = taskyard_jobs.assert_state(job, "retrying", error=ConnectionError)
        waits.append((waiting.available_at - taskyard_clock.now).total_seconds())
        taskyard_clock.jump(waiting.available_at)
    with pytest.raises(ConnectionError):
        taskyard_jobs.run_jobs(retries=False)
    assert taskyard_jobs.assert_state(job, "failed").attempt == 4
    # With jitter: between half of it and all of it.
    assert all(low / 2 <= wait <= low for wait, low in zip(waits, (60, 120, 240), strict=True))
    assert TRANSIENT.backoff_max == dt.timedelta(seconds=600)


def test_what_stays_wrong_is_not_tried_again(feed: Any, taskyard_jobs: Any) -> None:
    job = documents.sync_source.enqueue(source_id=feed.source("gone", 404).pk)
    with pytest.raises(documents.fetching.BadFeed):
        taskyard_jobs.run_jobs()
    assert taskyard_jobs.assert_state(job, "failed").attempt == 1


def test_a_batch_that_a_user_started_is_not_tried_again_and_a_lost_worker_spends_nothing(
    questionnaire: Questionnaire, taskyard_jobs: Any
) -> None:
    from taskyard.testing import faults

    question = questionnaire.questions.get(number=1)
    job = answers.generate_answer.enqueue(question_id=question.pk)
    with faults.dying("settle.begin"):
        taskyard_jobs.run_jobs()
    assert taskyard_jobs.assert_state(job, "succeeded").attempt == 2
    failed = answers.generate_answer.enqueue(question_id=questionnaire.questions.get(number=2).pk)
    with pytest.raises(NothingFound):
        taskyard_jobs.run_jobs()
    assert taskyard_jobs.assert_state(failed, "failed").attempt == 1


def test_a_soft_time_limit_marks_the_job_failed_with_a_reason(
    questionnaire: Questionnaire, taskyard_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskyard.celery import get_app

    conf = get_app().conf
    assert (conf.task_soft_time_limit, conf.task_time_limit) == (30 * 60, 35 * 60)
    answers.generate_answer(questionnaire.questions.get(number=1).pk)

    def too_long() -> None:
        raise SoftTimeLimitExceeded

    # In the middle of an item, where other errors are that item's own.
    monkeypatch.setattr(answers, "think", too_long)
    job = answers.batch_generate_final_answers.enqueue(questionnaire_id=questionnaire.pk)
    taskyard_jobs.run_jobs(raise_errors=False)
    failed = taskyard_jobs.assert_state(job, "failed", reason="soft-time-limit")
    assert failed.counts is None or not failed.counts.get("failed")


def test_each_is_safe_to_run_again(feed: Any, questionnaire: Questionnaire, taskyard_jobs: Any) -> None:
    source, question = feed.source("live", {"a": "Something to read."}), questionnaire.questions.get(number=1)
    Embedding.objects.all()[0].delete()
    document = Document.objects.to_embed().get()

    def looks() -> Any:
        # Not when it was looked at, which is another time each time.
        return list(Source.objects.order_by("pk").values("name", "check_error"))

    taskyard_jobs.assert_idempotent(documents.embed_document, {"document_id": document.pk})
    taskyard_jobs.assert_idempotent(documents.batch_embed_documents, {})
    taskyard_jobs.assert_idempotent(documents.sync_source, {"source_id": source.pk})
    taskyard_jobs.assert_idempotent(documents.validate_source, {"source_id": source.pk}, observe=looks)
    taskyard_jobs.assert_idempotent(documents.validate_all_sources, {}, observe=looks)
    taskyard_jobs.assert_idempotent(answers.generate_answer, {"question_id": question.pk})
    taskyard_jobs.assert_idempotent(answers.batch_generate_final_answers, {"questionnaire_id": questionnaire.pk})
    taskyard_jobs.assert_idempotent(documents.sync_all_sources, {})
    taskyard_jobs.assert_idempotent(answers.batch_generate_answers, {"questionnaire_id": questionnaire.pk})


def test_no_system_check_has_anything_to_say() -> None:
    assert [said for said in checks.run_checks(include_deployment_checks=True) if "taskyard" in str(said.id)] == []


@override_settings(CELERY_TASK_ALWAYS_EAGER=True, CELERY_TASK_EAGER_PROPAGATES=True)
class EagerTests(TaskyardTestMixin, TestCase):
    """S10: with Celery's own two settings, in Django's own TestCase."""

    def test_a_saved_document_is_embedded_at_once(self) -> None:
        document = Document.objects.create(title="Whales", text="Whales are mammals.")
        self.assertEqual(document.embedding.digest, document.digest)
        (job,) = self.enqueued(documents.embed_document, {"document_id": document.pk})
        self.assert_state(job, "succeeded")

    def test_an_error_reaches_the_caller(self) -> None:
        with self.assertRaisesRegex(ValueError, "no word"):
            Document.objects.create(title="?", text="…")

    def test_both_stages_run_at_once(self) -> None:
        from answers.starting import start_answers

        Document.objects.create(title="Whales", text="Whales are mammals.")
        questionnaire = Questionnaire.objects.create(title="One")
        questionnaire.questions.create(number=1, text="Are whales mammals?")
        start_answers(questionnaire, created_by="a test")
        self.assertEqual(Answer.objects.get().text, "Whales are mammals. [1]")


class DuplicateTests(TaskyardTestMixin, TestCase):
    def test_a_second_embedding_of_a_document_is_a_duplicate_until_the_first_starts(self) -> None:
        document = Document.objects.create(title="Whales", text="Whales are mammals.")
        job = self.assert_enqueued(documents.embed_document, {"document_id": document.pk}, queue="embedding", count=1)
        self.assert_duplicate(documents.embed_document, {"document_id": document.pk}, of=job)
        self.run_jobs()
        self.assert_state(job, "succeeded")
