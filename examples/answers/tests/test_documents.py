"""S4: saving a document enqueues its embedding."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from documents import search, tasks
from documents.models import Document, Embedding
from documents.search import nearest

from taskyard.models import Job

pytestmark = pytest.mark.django_db


class Unlucky(Exception):
    pass


def test_only_if_the_transaction_commits(taskyard_jobs: Any) -> None:
    with pytest.raises(Unlucky), transaction.atomic():
        Document.objects.create(title="Whales", text="Whales are mammals.")
        assert Job.objects.count() == 1
        raise Unlucky
    taskyard_jobs.assert_not_enqueued()
    with transaction.atomic():
        document = Document.objects.create(title="Whales", text="Whales are mammals.")
    taskyard_jobs.assert_enqueued(tasks.embed_document, {"document_id": document.pk}, subject=document, count=1)


def test_only_for_new_ones_and_what_was_changed_is_embedded_by_a_batch(taskyard_jobs: Any) -> None:
    document = Document.objects.create(title="Whales", text="Whales are mammals.")
    taskyard_jobs.run_jobs()
    document.text = "Whales sing."
    document.save()
    taskyard_jobs.assert_enqueued(tasks.embed_document, count=1)
    assert list(Document.objects.to_embed()) == [document]
    assert tasks.batch_embed_documents()["successful"] == 1
    assert not Document.objects.to_embed().exists()


def test_a_setting_switches_it_off(settings: Any, taskyard_jobs: Any) -> None:
    settings.EMBED_NEW_DOCUMENTS = False
    Document.objects.create(title="Whales", text="Whales are mammals.")
    taskyard_jobs.assert_not_enqueued()


def test_a_document_that_is_gone_by_then_is_discarded(taskyard_jobs: Any) -> None:
    document = Document.objects.create(title="Whales", text="Whales are mammals.")
    job = Job.objects.for_subject(document).get()
    document.delete()
    taskyard_jobs.run_jobs()
    taskyard_jobs.assert_state(job, "cancelled", reason="discarded")


def test_one_without_words_fails_alone_and_is_told_in_the_batch(taskyard_jobs: Any, settings: Any) -> None:
    settings.EMBED_NEW_DOCUMENTS = False
    for title in ("Whales", "…", "Bread"):
        Document.objects.create(title=title, text=title)
    job = tasks.batch_embed_documents.enqueue()
    taskyard_jobs.run_jobs()
    done = taskyard_jobs.assert_state(job, "succeeded")
    assert (done.result["successful"], done.result["failed"]) == (2, 1)
    assert [one["item"] for one in done.counts["errors"]] == ["…"]
    assert Embedding.objects.count() == 2


def test_near_documents_are_found_and_the_cache_forgets_them_when_a_vector_changes(documents: Any) -> None:
    assert nearest("how does yeast work in bread")[0].document.title == "Bread"
    first = nearest("cables of a bridge")[0].document
    assert first.title == "Bridges"
    first.title, first.text = "Rivers", "Water runs."
    first.save()
    tasks.batch_embed_documents()
    assert [found.document.title for found in nearest("cables of a bridge")[:1]] != ["Rivers"]


def test_what_was_found_is_kept_in_a_real_memcached(
    memcached: None, documents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [one.document for one in nearest("how does yeast work in bread")]

    def not_again(*_: Any) -> None:
        raise AssertionError("it was looked for again")

    monkeypatch.setattr(search, "_rank", not_again)
    assert [one.document for one in nearest("how does yeast work in bread")] == found
    with pytest.raises(AssertionError, match="again"):
        nearest("something else")


def test_a_page_takes_a_document_and_shows_it(ada: Any, client: Client, taskyard_jobs: Any) -> None:
    answer = client.post("/documents/add/", {"title": "Whales", "text": "Whales are mammals."}, follow=True)
    assert "No embedding yet" in answer.content.decode()
    taskyard_jobs.run_jobs()
    assert "Embedded." in client.get(answer.request["PATH_INFO"]).content.decode()
    assert "This field is required" in client.post("/documents/add/", {"title": "Whales"}).content.decode()
    assert client.get("/documents/", {"q": "a mammal"}).content.decode().count("/documents/") > 1


def test_a_second_click_on_embed_finds_the_first(ada: Any, client: Client, taskyard_jobs: Any) -> None:
    assert client.post("/documents/embed/").status_code == 302
    again = client.post("/documents/embed/")
    assert again.status_code == 400
    assert "Embedding is already running." in again.content.decode()
    taskyard_jobs.assert_enqueued(tasks.batch_embed_documents, count=1)
