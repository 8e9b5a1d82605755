"""Work on the documents of one organisation, and of all."""

from django.db import transaction
from search.models import Entry

from documents.models import Document, Report
from taskyard import task
from taskyard.tenancy import enqueue_for_tenants, ready_tenants, tenant_context, tenant_key


@task(tenant_scope="tenant", unique=True)
def reindex() -> str:
    """Write the published documents into the search engine that all share; its index and its ids are the tenant's."""
    index = tenant_key("documents")
    entries = [
        Entry(index=index, external_id=tenant_key(f"document-{document.pk}"), word=word)
        for document in Document.objects.filter(published=True)
        for word in document.words.split()
    ]
    with transaction.atomic():
        Entry.objects.filter(index=index).delete()
        Entry.objects.bulk_create(entries)
    return index


@task(tenant_scope="public")
def reindex_everyone() -> int:
    """Each night: a job for each organisation that is ready."""
    return enqueue_for_tenants(reindex).created


@task(tenant_scope="public")
def count_everywhere() -> dict[str, int]:
    """One job that walks from organisation to organisation."""
    counts = {}
    for name in ready_tenants():
        with tenant_context(name):
            counts[name] = Document.objects.count()
    return counts


@task(tenant_from=lambda arguments: arguments["db_settings"]["name"], tenant_scope="tenant")
def count_words(db_settings: dict[str, str]) -> int:
    """As older code names its organisation: within an argument that says more."""
    return sum(len(words.split()) for words in Document.objects.values_list("words", flat=True))


@task(tenant_scope="tenant")
def send_report(report: int) -> str:
    """What a member ordered; the job is about that row (``subject``), and finds all it needs there."""
    wanted = Report.objects.select_related("member").get(pk=report)
    found = Document.objects.filter(words__contains=wanted.word).order_by("title").values_list("title", flat=True)
    return f"to {wanted.member}: {wanted}: {', '.join(found) or 'none'}"
