"""The example, from nothing to its end, in one command: ``python examples/schemas/show.py``.

Makes a database of its own on the PostgreSQL server of ``DATABASE_URL``, three towns of which one has not opened yet,
and a real worker; prints what happened, and drops the database again. ``--check`` judges it by its exit code.
"""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from showing import postgres_database, project, until, worker  # noqa: E402


def set_up() -> None:
    """The shared tables and three towns."""
    from customers.models import Town
    from django.core.management import call_command

    call_command("migrate_schemas", schema_name="public", interactive=False, verbosity=0)
    for schema in ("aldea", "brook", "cairn"):
        Town.objects.create(schema_name=schema, name=schema.title())
    for schema in ("aldea", "brook"):
        Town.objects.get(schema_name=schema).open()


def enqueue() -> None:
    """A day's work; nothing runs yet."""
    from books.tasks import announce, count_books, lend_to, order_book
    from celery import chord
    from customers.tasks import count_towns

    from taskyard.tenancy import enqueue_for_tenants, tenant_context

    report = enqueue_for_tenants(count_books, spread=timedelta(seconds=2))
    print(f"a job for each town that is ready: {report.created} written")
    count_towns.enqueue()
    with tenant_context("aldea"):
        chord([order_book.s("Emma"), order_book.s("Walden")], announce.s()).delay()
    with tenant_context("brook"):
        order_book.delay("Ulysses")
    print("ordered books as aldea (a chord) and as brook; each order fails once and is tried again")
    # Not open yet: its job waits. Nobody's: its job fails.
    count_books.using(tenant="cairn").enqueue()
    count_books.using(tenant="dell").enqueue()
    lend_to.using(tenant="aldea", run_after=timedelta(seconds=3)).enqueue("brook", "Emma")


def follow() -> None:
    """Until everything has ended."""
    from customers.models import Town

    from taskyard.models import Job

    waits = Job.objects.for_tenant("cairn")
    until(lambda: waits.filter(error__contains="tenant-not-ready").exists(), "cairn's job says what it waits for")
    until(lambda: Job.objects.active().count() == 1, "everything else has ended")
    print("cairn is not ready, its job waits:", waits.get().error["message"])
    Town.objects.get(schema_name="cairn").open()
    print("cairn has opened")
    until(lambda: not Job.objects.active().exists(), "cairn's job has ended")


def tell() -> list[str]:
    """Print what stands in each schema; what should not stand there."""
    from books.models import Book, Note

    from taskyard.models import Job
    from taskyard.tenancy import tenant_context

    wrong = []
    for town in ("aldea", "brook", "cairn"):
        with tenant_context(town):
            notes = list(Note.objects.order_by("id"))
            print(f"\n{town}: books {sorted(Book.objects.values_list('title', flat=True))}")
            for note in notes:
                print(f"    {note.text}")
            wrong += [f"{note} stands in {town}" for note in notes if note.town != town]
    dell = Job.objects.for_tenant("dell").get()
    print(f"\ndell: {dell.state}, {dell.error['message']}")
    jobs = Job.objects.exclude(id=dell.id)
    wrong += [
        f"{job.task} of {job.tenant or 'public'} is {job.state}: {job.error}" for job in jobs.exclude(state="succeeded")
    ]
    wrong += [
        f"{job.task} of {job.tenant} ran in {job.result}"
        for job in jobs.filter(task__contains="lend")
        if job.result != job.tenant
    ]
    if dell.state != "failed":
        wrong.append(f"the job of a town that does not exist is {dell.state}")
    print(f"\n{jobs.count()} jobs succeeded in their own schema" if not wrong else "\n".join(["", *wrong]))
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if anything went wrong")
    options = parser.parse_args()
    with postgres_database(f"taskyard_library_{os.getpid()}"), project(HERE, "library.settings"):
        set_up()
        enqueue()
        with worker(HERE):
            follow()
        wrong = tell()
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
