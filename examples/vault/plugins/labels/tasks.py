"""A task of a plugin."""

from documents.models import Document

from taskyard import task


@task(tenant_scope="tenant")
def count_labelled() -> int:
    return Document.objects.exclude(labels="").count()
