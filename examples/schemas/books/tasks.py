"""Work for one town: nothing here says which, and none of it names a schema."""

import celery
from celery import shared_task
from django.db import connection

from books.models import Book, Note
from taskyard import task
from taskyard.tenancy import current_tenant, tenant_context, tenant_key


def write_down(text: str) -> None:
    Note.objects.create(text=text, town=current_tenant())


@task(unique=True)
def count_books() -> int:
    """Each night, for each town (see ``show.py``)."""
    found: int = Book.objects.count()
    write_down(f"{found} books under {tenant_key('catalogue')}")
    return found


class LoudTask(celery.Task):
    """A base class of the project's own, which knows nothing of tenants."""

    abstract = True


@shared_task(bind=True, base=LoudTask, max_retries=3)
def order_book(self: celery.Task, title: str) -> str:
    """The first try fails; the second is the same town's."""
    write_down(f"try {self.request.retries + 1} to order {title}")
    if not self.request.retries:
        raise self.retry(countdown=0)
    Book.objects.create(title=title)
    return str(connection.schema_name)


@shared_task
def announce(titles: list[str]) -> str:
    """The end of a chord."""
    write_down(f"{len(titles)} books ordered")
    return current_tenant()


@task
def lend_to(other: str, title: str) -> str:
    """Works in two towns, and is back in its own at the end."""
    Book.objects.filter(title=title).delete()
    with tenant_context(other):
        Book.objects.create(title=title)
        write_down(f"{title} came in")
    write_down(f"{title} went to {other}")
    return current_tenant()
