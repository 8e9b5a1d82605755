"""The two stages. None of these is tried again by itself: a user has started it, looks at it, and may do so again."""

import logging
import time
from typing import Any

from config.items import do_each, running_job
from django.conf import settings
from django.contrib.auth import get_user_model
from documents.search import nearest

from answers import writing
from answers.models import Answer, Question, Questionnaire
from answers.writing import Text
from taskyard import Discard, task

logger = logging.getLogger(__name__)
Result = dict[str, Any]


@task
def generate_answer(question_id: int) -> Result:
    """Stage one, of one question: a member of the batch. A question that nothing is found for fails, alone."""
    question = Question.objects.filter(pk=question_id).first()
    if question is None:
        raise Discard(f"question {question_id} is gone")
    think()
    texts = [
        Text(one.document.pk, one.document.title, one.document.text, one.similarity) for one in nearest(question.text)
    ]
    try:
        found = writing.passages(question.text, texts)
    except writing.NothingFound:
        # What an older run found would be taken for this one's.
        Answer.objects.filter(question=question).delete()
        raise
    Answer.objects.update_or_create(question=question, defaults={"passages": found, "text": ""})
    logger.info("questionnaire %s, %s: %s passages", question.questionnaire_id, question, len(found))
    return {"success": True, "question": question_id, "passages": len(found)}


@task
def batch_generate_final_answers(questionnaire_id: int) -> Result:
    """Stage two, of all questions in one job: begins when stage one has ended."""
    drafts = Answer.objects.filter(question__questionnaire=questionnaire_id).select_related("question")
    result = do_each(list(drafts.order_by("question__number")), _finish, what="writing")
    logger.info("questionnaire %s: %s answers", questionnaire_id, result["successful"])
    return result


def _finish(answer: Answer) -> None:
    think()
    text = writing.answer(answer.question.text, answer.passages)
    # By the key: it was fetched a while ago, and somebody may have asked for this one anew.
    Answer.objects.filter(pk=answer.pk).update(text=text)


@task
def batch_generate_answers(questionnaire_id: int, user_id: int | None = None) -> Result:
    """Start both stages from a schedule or from code: the door is the same as a view's, and so is who is refused."""
    from answers.starting import AlreadyRunning, start_answers

    questionnaire = Questionnaire.objects.get(pk=questionnaire_id)
    user = get_user_model().objects.filter(pk=user_id).first() or settings.TASKYARD["SCHEDULE_USER"]
    try:
        batch = start_answers(questionnaire, created_by=user)
    except AlreadyRunning as running:
        logger.info("questionnaire %s: %s", questionnaire_id, running)
        return {"success": True, "started": None, "skipped": str(running)}
    return {"success": True, "started": str(batch.id), "skipped": ""}


def think() -> None:
    """Stands for the time that a language model would take; a cancel ends it."""
    job, until = running_job(), time.monotonic() + settings.SECONDS_PER_ANSWER
    while (left := until - time.monotonic()) > 0:
        if job:
            job.raise_if_cancelled()
        time.sleep(min(left, 0.2))
