"""Variant 2: the one door to answers, for views, the admin, and schedules."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from answers import tasks
from answers.models import Questionnaire
from taskyard import Batch, DuplicateBatch
from taskyard.models import Job
from taskyard.operations import Actor, jobs


class AlreadyRunning(Exception):
    """One of the two stages is on its way."""

    def __init__(self, questionnaire: Questionnaire) -> None:
        super().__init__(f"{questionnaire}: its answers are already running.")


def start_answers(questionnaire: Questionnaire, *, created_by: Any) -> Batch:
    """Both stages: a job for each question, then one for the final answers. Raises :class:`AlreadyRunning`.

    Of any number of callers at the same moment one starts it: a unique index decides.
    """
    with transaction.atomic():
        # In a row: the second stage is a job of its own, and who finds the batch ended must see it.
        Questionnaire.objects.select_for_update().get(pk=questionnaire.pk)
        if second_stage(questionnaire).active().exists():
            raise AlreadyRunning(questionnaire)
        try:
            with questionnaire.open_batch("answers", created_by=created_by) as batch:
                questions = questionnaire.questions.order_by("number").values_list("pk", flat=True)
                batch.enqueue_many(
                    tasks.generate_answer.using(created_by=created_by), ({"question_id": pk} for pk in questions)
                )
                final = tasks.batch_generate_final_answers.using(created_by=created_by)
                batch.then(final, questionnaire_id=questionnaire.pk)
        except DuplicateBatch as running:
            raise AlreadyRunning(questionnaire) from running
    return batch


def cancel_answers(questionnaire: Questionnaire, *, by: Any) -> bool:
    """Cancel whichever stage is on its way; whether there was one."""
    batch = Batch.objects.for_subject(questionnaire).active().first()
    if batch is not None and batch.cancel():
        return True
    second = list(second_stage(questionnaire).active().values_list("id", flat=True))
    # A user may end what a user may start; the audit says who did.
    return bool(second and jobs.cancel(Actor.system(by.get_username(), via="answers"), second).changed)


def second_stage(questionnaire: Questionnaire) -> Any:
    return Job.objects.for_subject(questionnaire).filter(task=tasks.batch_generate_final_answers.name)
