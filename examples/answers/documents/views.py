"""Pages of documents and sources. Each works without JavaScript."""

from __future__ import annotations

from collections.abc import Callable

from config.posts import posts
from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from documents import tasks
from documents.models import Document, Source
from documents.search import nearest
from taskyard.integrations.guard import Guard, guard
from taskyard.models import Job


class DocumentForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Document
        fields = ("title", "text")


def documents(request: HttpRequest, form: DocumentForm | None = None, status: int = 200) -> HttpResponse:
    """All of them, or those near to what is asked for; and a form for one more."""
    asked = request.GET.get("q", "").strip()
    page = Paginator(Document.objects.select_related("source", "embedding"), 20).get_page(request.GET.get("page"))
    return render(request, "documents.html", {
        "asked": asked, "found": nearest(asked, 10) if asked else [], "page": page, "form": form or DocumentForm(),
        "missing": Document.objects.to_embed().count(), "job": latest(tasks.batch_embed_documents.name),
    }, status=status)  # fmt: skip


@posts("documents")
def add(request: HttpRequest) -> HttpResponse:
    """Variant 1: the save enqueues its embedding (documents/signals.py)."""
    form = DocumentForm(request.POST)
    return redirect("document", form.save().pk) if form.is_valid() else documents(request, form)


def document(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Document.objects.select_related("source", "embedding"), pk=pk)
    job = Job.objects.for_subject(found).order_by("-created_at").first()
    return render(request, "document.html", {"document": found, "job": job})


@posts("documents")
def embed(request: HttpRequest) -> HttpResponse:
    """About no row: the task's own key lets one run at a time."""
    job = tasks.batch_embed_documents.using(created_by=request.user).enqueue()
    return answer(request, Guard(job, job.created), documents, what="Embedding")


def sources(request: HttpRequest, status: int = 200) -> HttpResponse:
    rows = Source.objects.annotate(count=Count("documents"))
    jobs = {"check": latest(tasks.validate_all_sources.name), "sync": latest(tasks.sync_all_sources.name)}
    return render(request, "sources.html", {"sources": rows, **jobs}, status=status)


@posts("sources")
def sync_all(request: HttpRequest) -> HttpResponse:
    job = tasks.sync_all_sources.using(created_by=request.user).enqueue()
    return answer(request, Guard(job, job.created), sources, what="The sync of all sources")


@posts("sources")
def validate_all(request: HttpRequest) -> HttpResponse:
    job = tasks.validate_all_sources.using(created_by=request.user).enqueue()
    return answer(request, Guard(job, job.created), sources, what="The check of all sources")


@posts("sources")
def sync(request: HttpRequest, pk: int) -> HttpResponse:
    """The row follows the job: it is a :class:`~taskyard.TrackedModel`."""
    source = get_object_or_404(Source, pk=pk)
    job = source.enqueue(tasks.sync_source.using(created_by=request.user), source_id=source.pk)
    return answer(request, Guard(job, job.created), sources, what=f"The sync of {source}")


@posts("sources")
def validate(request: HttpRequest, pk: int) -> HttpResponse:
    """The row takes no part: the guard's key is made of it."""
    source = get_object_or_404(Source, pk=pk)
    return answer(request, guard(request, tasks.validate_source, source, source_id=source.pk), sources,
                  what=f"The check of {source}")  # fmt: skip


def answer(request: HttpRequest, started: Guard, page: Callable[..., HttpResponse], *, what: str) -> HttpResponse:
    """To the page; a second click gets it at once, with a sentence and the status of our choice."""
    if started.created:
        messages.success(request, f"{what} was started.")
        return redirect(page.__name__)
    messages.warning(request, f"{what} is already running.")
    return page(request, status=settings.TASKYARD["DUPLICATE_STATUS"])


def latest(task: str) -> Job | None:
    """The last job of a task."""
    return Job.objects.filter(task=task).order_by("-created_at").first()
