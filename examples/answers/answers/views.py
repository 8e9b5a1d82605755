"""Pages of questionnaires. Each works without JavaScript; with it, bars move by themselves."""

from __future__ import annotations

from config.posts import posts
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from documents.models import Document, Source

from answers.models import Questionnaire
from answers.starting import AlreadyRunning, cancel_answers, second_stage, start_answers
from taskyard import Batch


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "home.html", {
        "questionnaires": Questionnaire.objects.all(), "sources": Source.objects.all(),
        "documents": Document.objects.count(), "missing": Document.objects.to_embed().count(),
    })  # fmt: skip


def questionnaire(request: HttpRequest, pk: int, status: int = 200) -> HttpResponse:
    """Its questions, what was found for them, and how far both stages are."""
    found = get_object_or_404(Questionnaire, pk=pk)
    batch = Batch.objects.filter(id=found.batch).first() if found.batch else None
    # That of this batch: an older one says nothing about it.
    second = (
        second_stage(found).filter(created_at__gte=batch.created_at).order_by("-created_at").first() if batch else None
    )
    is_active = (batch is not None and batch.state == "running") or (second is not None and second.finished_at is None)
    return render(request, "questionnaire.html", {
        "questionnaire": found, "questions": found.questions.select_related("answer"), "batch": batch,
        "second": second, "is_active": is_active, "reading": found.reading() if batch else None,
    }, status=status)  # fmt: skip


@posts("questionnaire")
def start(request: HttpRequest, pk: int) -> HttpResponse:
    """Start both stages; a second click gets the same page, a sentence, and the status of our choice."""
    found = get_object_or_404(Questionnaire, pk=pk)
    try:
        start_answers(found, created_by=request.user)
    except AlreadyRunning as running:
        messages.warning(request, str(running))
        return questionnaire(request, pk, status=settings.TASKYARD["DUPLICATE_STATUS"])
    return redirect(found)


@posts("questionnaire")
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Questionnaire, pk=pk)
    if cancel_answers(found, by=request.user):
        messages.success(request, "It is being cancelled: what runs stops within two seconds.")
    else:
        messages.warning(request, "Nothing was running.")
    return redirect(found)
