"""The example, from nothing to its end, in one command: ``python examples/validations/show.py``.

SQLite in a folder of its own, or a database on the PostgreSQL server of ``DATABASE_URL``; ``REDIS_URL`` is the broker
if it is set. Prints what happened, and leaves nothing. ``--check`` judges it by its exit code.
"""

import argparse
import datetime as dt
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from showing import postgres_database, project, until, worker  # noqa: E402

DAY = dt.timedelta(days=1)
DOWNTIME = 7 * DAY


@contextmanager
def data() -> Iterator[None]:
    """A folder for files, containers and e-mails; a database of its own where there is a PostgreSQL server."""
    with TemporaryDirectory(prefix="taskyard-validations-") as folder:
        os.environ["VALIDATIONS_DATA"] = folder
        if "DATABASE_URL" not in os.environ:
            yield
            return
        with postgres_database(f"taskyard_validations_{os.getpid()}"):
            yield


@contextmanager
def no_container_left() -> Iterator[None]:
    from validations import containers

    try:
        yield
    finally:
        for run in containers.runs():
            containers.remove(run)


def keep_house_badly() -> Path:
    """What a week without housekeeping leaves behind. What is in the way of one purge."""
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.files.base import ContentFile
    from django.utils import timezone
    from validations import containers
    from validations.models import IdempotencyKey, Output, Receipt, Run, RunState, Submission

    now = timezone.now()
    submissions = [Submission(customer=name, expires_at=now - DAY) for name in ("acme", "brill", "cairn")]
    for submission in submissions:
        submission.file.save("rules.xml", ContentFile(b"<rules/>"))
    done, hung, alive = (
        Run.objects.create(submission=submissions[0], state=state, heard_at=heard, ended_at=ended)
        for state, heard, ended in (
            (RunState.SUCCEEDED, now - DAY, now - DAY), (RunState.RUNNING, now - DAY, None),
            (RunState.RUNNING, now, None),
        )
    )  # fmt: skip
    for run in (done, hung, alive):
        containers.start(run.pk, ["sleep", "3600"])
    output = Output(run=done, expires_at=now - DAY)
    output.file.save("report.json", ContentFile(b"{}"))
    IdempotencyKey.objects.create(key="submit-7", expires_at=now - DAY)
    Receipt.objects.create(callback=uuid.uuid4(), received_at=now - 31 * DAY)
    session = SessionStore()
    session.set_expiry(now - DAY)
    session.save()
    # A file that cannot be removed: a folder stands in its place, and something in it.
    place = Path(submissions[1].file.path)
    place.unlink()
    place.mkdir()
    (place / "in the way").touch()
    return place / "in the way"


def stand_still() -> None:
    """As the rows are when nothing ran for a week."""
    from django.utils import timezone

    from taskyard.schedules import Schedule

    past = timezone.now() - DOWNTIME
    for row in Schedule.objects.all():
        Schedule.objects.filter(pk=row.pk).update(decided_until=past, next_at=row.preview(1, after=past)[0].at)


def follow(in_the_way: Path) -> None:
    """Until everything has run, and what could not be done at first has been done."""
    from django.utils import timezone
    from validations.models import Submission

    from taskyard.celery import get_app
    from taskyard.models import Job, Worker
    from taskyard.schedules import Schedule

    def has_caught_up() -> bool:
        behind = Schedule.objects.filter(last_at=None) | Schedule.objects.filter(next_at__lte=timezone.now())
        return not behind.exists() and not Job.objects.active().exists()

    until(has_caught_up, "every schedule has run")
    print(
        f"\na worker with room for {Worker.objects.get().slots} job, on {get_app().conf.broker_url.partition(':')[0]}"
    )
    tell("after a week in which nothing ran")
    in_the_way.unlink()
    Submission.objects.exclude(retry_at=None).update(retry_at=timezone.now())
    # Somebody does not want to wait. Usage was counted meanwhile, and the hung run is over.
    for name in ("retry-failed-purges", "remove-orphaned-containers", "send-periodic-emails"):
        row = Schedule.objects.get(name=name)
        # Not beside one that has just come due.
        until(lambda row=row: row.run_now(by="ada").decision == "fired", f"{name} was started")
    until(lambda: not Job.objects.active().exists(), "what was asked for has run")
    tell("asked for by ada", actor="ada")


def tell(title: str, actor: str = "") -> None:
    from django.db.models import Count, Q

    from taskyard.models import Job
    from taskyard.schedules import Schedule

    print(f"\n{title}:")
    mine = Q(occurrences__actor=actor)
    missed = Count("occurrences", filter=mine & Q(occurrences__decision="coalesced"))
    for row in Schedule.objects.annotate(missed=missed).order_by("name"):
        for fired in row.occurrences.filter(decision="fired", actor=actor):
            job = Job.objects.get(id=fired.job)
            missed_too = f" ({row.missed} due times before it were missed)" if row.missed else ""
            print(f"    {row.name:<26} {job.state}: {job.progress_message}{missed_too}")
            for error in job.counts.get("errors", ()) if job.counts else ():
                print(f"        {error['item']}: {error['error']}")


def judge() -> list[str]:
    """What should not be, after all that."""
    from django.conf import settings
    from django.contrib.sessions.models import Session
    from validations import containers
    from validations.models import IdempotencyKey, Output, Receipt, Run, Submission

    from taskyard.models import Job

    (alive,) = Run.objects.filter(state="running").values_list("pk", flat=True)
    mails = [path.read_text() for path in Path(settings.MAILS).glob("*")]
    print(f"\ncontainers: {[f'run {run}' for run in containers.runs()]}, e-mails: {len(mails)}")
    findings = {
        "a file is kept too long": Submission.objects.filter(purged_at=None) or Output.objects.filter(purged_at=None),
        "files are left": [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()],
        "containers are not those of living runs": containers.runs() != [alive] or not containers.is_alive(alive),
        "keys, receipts or sessions are left": (
            IdempotencyKey.objects.exists() or Receipt.objects.exists() or Session.objects.exists()
        ),
        "there is not one e-mail about acme's run": len(mails) != 1 or "acme: 1" not in mails[0],
        "a job has not succeeded": Job.objects.exclude(state="succeeded"),
    }
    return [finding for finding, is_so in findings.items() if is_so]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if anything went wrong")
    options = parser.parse_args()
    with data(), project(HERE, "config.settings"):
        from django.core.management import call_command

        call_command("set_up", verbosity=0)
        with no_container_left():
            in_the_way = keep_house_badly()
            stand_still()
            with worker(HERE, "manage.py", "start"):
                follow(in_the_way)
            wrong = judge()
    print(*wrong or ["everything is as it should be"], sep="\n")
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
