"""The example, from nothing to its end, in one command: ``python examples/vault/show.py``.

A database for each organisation: SQLite files in a folder of its own, or databases on the PostgreSQL server of
``DATABASE_URL`` if that is set. Prints what happened, and leaves nothing. ``--check`` judges it by its exit code.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from showing import postgres_database, project, until, worker  # noqa: E402


@contextmanager
def data() -> Iterator[None]:
    """A folder for SQLite's files and the cache; databases of its own where there is a PostgreSQL server."""
    with TemporaryDirectory(prefix="taskyard-vault-") as folder:
        os.environ["VAULT_DATA"] = folder
        # Commands of the crontab are to find the Python that runs this.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        if "DATABASE_URL" not in os.environ:
            yield
            return
        with postgres_database(f"taskyard_vault_{os.getpid()}"):
            yield


def set_up() -> None:
    """Two organisations that have moved in, one that has not. Number 1 is another person in each."""
    from accounts.directory import move_in
    from accounts.models import Organisation
    from django.core.management import call_command
    from documents.models import Document, Member

    from taskyard.tenancy import tenant_context

    call_command("migrate", interactive=False, verbosity=0)
    for slug, member, title in (("acme", "ada@acme.example", "Plans"), ("brill", "bo@brill.example", "Letters")):
        move_in(slug)
        with tenant_context(slug):
            Member.objects.create(email=member)
            Member.objects.create(email=f"leaver@{slug}.example")
            Document.objects.create(title=title, words=f"secret {title.lower()}")
    Organisation.objects.create(slug="cairn")


def refuse() -> None:
    """What is refused at the call; nothing of it becomes a job."""
    from documents.models import Member
    from documents.tasks import count_words
    from orchestrators.tasks import run_action, submit

    from taskyard.tenancy import tenant_context

    def told(what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            print(f"refused, {what}: {type(error).__name__}: {error}")
        else:
            print(f"NOT refused: {what}")

    with tenant_context("acme"):
        ada = Member.objects.get(pk=1)
        told("no such action", lambda: submit(ada, "documents", "shred"))
        told("its plugin is not active", lambda: submit(ada, "telex", "send", document=1))
        told("another organisation's", lambda: run_action.enqueue("brill", 1, "documents", "publish", document=1))
        told("the same, within an argument", lambda: count_words.enqueue(db_settings={"name": "brill"}))
    told("nobody's", lambda: submit(ada, "documents", "publish", document=1))


def enqueue() -> None:
    """A day's work; nothing runs yet."""
    from django.db import transaction
    from documents.models import Document, Member
    from documents.tasks import count_everywhere, count_words, reindex, reindex_everyone
    from orchestrators.tasks import run_action, submit
    from plugins.labels.tasks import count_labelled

    from taskyard.tenancy import tenant_context
    from taskyard.tenancy.databases import database_of

    for organisation in ("acme", "brill"):
        with tenant_context(organisation):
            member = Member.objects.get(pk=1)
            submit(member, "documents", "publish", document=1)
            submit(member, "labels", "apply", document=1, label="urgent")
    with tenant_context("acme"):
        ada, leaver = Member.objects.order_by("pk")
        submit(leaver, "labels", "apply", document=1, label="farewell")
        leaver.delete()
        submit(ada, "documents", "import_all", titles=["Half", ""])
        count_labelled.using(run_after=timedelta(seconds=2)).enqueue()
        try:
            with transaction.atomic(using=database_of()):
                Document.objects.create(title="Never", words="never")
                reindex.enqueue()
                raise RuntimeError("the page failed")
        except RuntimeError:
            pass
    # From outside of all organisations the argument says whose it is.
    count_words.enqueue(db_settings={"name": "brill", "host": "left to accounts.directory"})
    reindex_everyone.enqueue()
    count_everywhere.enqueue()
    # Not moved in yet: its job waits. Nobody's: its job fails.
    reindex.using(tenant="cairn").enqueue()
    run_action.enqueue("dell", 1, "documents", "publish", document=1)


def let_move_in() -> None:
    """Who has not moved in yet: its job waits until it has."""
    from accounts.directory import move_in

    from taskyard.models import Job

    waits = Job.objects.for_tenant("cairn")
    until(lambda: waits.filter(error__contains="tenant-not-ready").exists(), "cairn's job says what it waits for")
    print("cairn's job waits:", waits.get().error["message"])
    move_in("cairn")
    print("cairn has moved in")


def order_reports() -> None:
    """Members order reports for themselves; one is edited, one is switched off. What is due is run at once here."""
    from documents.models import Member, Report
    from documents.reports import save_report

    from taskyard.models import Job
    from taskyard.schedules import Schedule
    from taskyard.tenancy import tenant_context

    for organisation in ("acme", "brill"):
        with tenant_context(organisation):
            mine = Schedule.objects.visible_to(organisation).starting_with("report-")
            report = Report(member=Member.objects.get(pk=1), word="secret", cron="0 8 * * MON")
            # What is saved within the organisation's transaction comes by the outbox of its database.
            save_report(report)
            until(mine.exists, "the schedule has come")
            first = mine.get()
            report.cron = "0 7 * * MON"
            save_report(report)
            until(mine.filter(version__gt=first.version).exists, "its edit has come")
            edited = mine.get()
            print(f"{organisation} has ordered {edited.name}: one row: {first.pk == edited.pk}, due at 7 on Mondays")
            edited.run_now(by=report.member)
            until(Job.objects.for_subject(report).filter(state="succeeded").exists, "a report")
            report.enabled = False
            save_report(report)
            until(mine.filter(enabled=False).exists, "it is switched off")
    about = Schedule.objects.filter(name__startswith="report-").order_by("tenant")
    print("switched off:", [f"{row.name} of {row.tenant}" for row in about if not row.enabled and row.next_at is None])


def run_crontabs() -> None:
    """The lines of the crontabs, as if each were due; then a plugin is switched off."""
    from config import plugins

    from taskyard.models import Job
    from taskyard.schedules import Schedule

    lines = Schedule.objects.filter(origin="crontab").order_by("name")
    until(lines.exists, "the worker has read the crontabs")
    for line in lines:
        print(f"crontab line {line.name}: {line.description}")
        line.run_now()
    commands = Job.objects.filter(task="taskyard.run_command")
    until(lambda: not commands.filter(finished_at=None).exists(), "all commands have ended")
    plugins.switch("labels", on=False)
    until(lambda: not lines.filter(name__startswith="labels/").exists(), "the lines of labels are gone")
    print("labels is switched off; lines left:", [line.name for line in lines.all()])
    for log in sorted(Path(os.environ["VAULT_DATA"]).rglob("*.log")):
        print(f"{log.name}: {log.read_text().splitlines()[-1:]}")


def tell() -> list[str]:
    """Print what stands in each database, and in what all share; what should not stand there."""
    from django.core.cache import cache
    from documents.models import Document, Entry
    from search.models import Entry as Found

    from taskyard.models import Job
    from taskyard.tenancy import tenant_context, tenant_key

    wrong = []
    for organisation in ("acme", "brill", "cairn"):
        with tenant_context(organisation):
            print(f"\n{organisation}: {[f'{d.title} [{d.labels}]' for d in Document.objects.order_by('pk')]}")
            for entry in Entry.objects.order_by("text"):
                print(f"    {entry.text}, by {entry.member}")
                wrong += [] if entry.organisation == organisation else [f"{entry} stands in {organisation}"]
            secrets = Found.objects.filter(index=tenant_key("documents"), word="secret")
            print(f"    'secret' finds {[found.external_id for found in secrets]}")
            print(f"    last published: {cache.get('last-published')}")
    print()
    for job in Job.objects.order_by("created_at").exclude(state="succeeded", result=None):
        about = job.result if job.state == "succeeded" else (job.error or {}).get("message", "")
        print(f"{job.tenant or 'public'}: {job.task.rpartition('.')[2]} {job.state}: {about}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if anything went wrong")
    options = parser.parse_args()
    with data(), project(HERE, "config.settings"):
        from taskyard.models import Job

        set_up()
        refuse()
        enqueue()
        with worker(HERE):
            let_move_in()
            order_reports()
            run_crontabs()
            until(lambda: not Job.objects.active().exists(), "all jobs have ended")
        wrong = tell()
    print(*wrong, sep="\n")
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
