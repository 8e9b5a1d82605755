"""V5: the nine, each started by its schedule, on real rows, files, processes and e-mails."""

import datetime as dt
import fcntl
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.mail import EmailMessage
from django.utils import timezone
from housekeeping import mails, tasks
from housekeeping.models import SentMail
from housekeeping.purging import wait_after
from validations import containers
from validations.models import IdempotencyKey, KeptFile, Receipt, RunState, Submission

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)

NOTHING = "0 found, 0 done, 0 failed"


@pytest.mark.parametrize("kind", ["submission", "output"])
def test_files_go_when_they_expire_and_their_rows_stay(kind: str, make: Any, run: Any) -> None:
    expired, kept = getattr(make, kind)(), getattr(make, kind)(expired=False)
    assert run(f"purge-expired-{kind}s").progress_message == "1 found, 1 done, 0 failed"
    expired.refresh_from_db()
    assert (Path(expired.file.path).exists(), Path(kept.file.path).exists()) == (False, True)
    assert expired.purged_at is not None
    assert run(f"purge-expired-{kind}s").progress_message == NOTHING


def test_a_file_that_cannot_be_removed_stops_no_other_and_is_told(make: Any, run: Any) -> None:
    first, broken, last = (make.submission() for _ in range(3))
    make.stuck(broken)
    job = run("purge-expired-submissions")
    assert (job.state, job.progress_message) == ("succeeded", "3 found, 2 done, 1 failed")
    assert [error["item"] for error in job.counts["errors"]] == [f"submission {broken.pk}"]
    assert set(Submission.objects.exclude(purged_at=None)) == {first, last}
    # From here on it is the next one's.
    assert run("purge-expired-submissions").progress_message == NOTHING


@pytest.mark.parametrize("kind", ["submission", "output"])
def test_failed_purges_are_tried_again_later_and_later(kind: str, make: Any, run: Any) -> None:
    kept = getattr(make, kind)()
    in_the_way = make.stuck(kept)
    run(f"purge-expired-{kind}s")
    assert run("retry-failed-purges").progress_message == NOTHING
    time_has_come(kept)
    assert run("retry-failed-purges").progress_message == "1 found, 0 done, 1 failed"
    kept.refresh_from_db()
    assert kept.failures == 2
    assert kept.retry_at > timezone.now() + 9 * MINUTE
    assert "not empty" in kept.error
    in_the_way.unlink()
    time_has_come(kept)
    assert run("retry-failed-purges").progress_message == "1 found, 1 done, 0 failed"
    kept.refresh_from_db()
    assert (kept.purged_at is not None, kept.failures, kept.error) == (True, 0, "")


def time_has_come(kept: KeptFile) -> None:
    type(kept).objects.filter(pk=kept.pk).update(retry_at=timezone.now())


def test_the_wait_doubles_up_to_a_day() -> None:
    assert [wait_after(failures) // MINUTE for failures in (1, 2, 3, 9, 500)] == [5, 10, 20, 1280, 1440]


def test_runs_that_nothing_was_heard_of_are_ended_with_the_reason(make: Any, run: Any) -> None:
    hung, alive, over = make.run(silent=31 * MINUTE), make.run(), make.run(silent=DAY, state=RunState.SUCCEEDED)
    assert run("mark-hung-runs-failed").progress_message == "1 found, 1 done, 0 failed"
    for each in (hung, alive, over):
        each.refresh_from_db()
    assert [each.state for each in (hung, alive, over)] == ["failed", "running", "succeeded"]
    assert hung.reason.startswith("nothing was heard of it since")
    assert run("mark-hung-runs-failed").progress_message == NOTHING


def test_containers_of_runs_that_are_over_are_killed_and_removed(make: Any, run: Any) -> None:
    alive, over, unknown = make.run(), make.run(state=RunState.FAILED), make.run(state=RunState.FAILED)
    for each in (alive, over, unknown):
        containers.start(each.pk, ["sleep", "600"])
    unknown.delete()
    assert all(map(containers.is_alive, containers.runs()))
    assert run("remove-orphaned-containers").progress_message == "2 found, 2 done, 0 failed"
    assert containers.runs() == [alive.pk]
    assert containers.is_alive(alive.pk)
    assert run("remove-orphaned-containers").progress_message == NOTHING


def test_a_container_that_resists_stops_no_other(make: Any, run: Any) -> None:
    odd, over = make.run(state=RunState.FAILED), make.run(state=RunState.FAILED)
    for each in (odd, over):
        containers.start(each.pk, ["true"])
    folder = Path(settings.CONTAINERS) / f"run-{odd.pk}"
    with (folder / "alive").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "group").write_text("nobody knows")
        job = run("remove-orphaned-containers")
    assert job.progress_message == "2 found, 1 done, 1 failed"
    assert containers.runs() == [odd.pk]


def test_idempotency_keys_and_receipts_go_when_they_are_old(run: Any) -> None:
    now = timezone.now()
    for age in (-MINUTE, MINUTE):
        IdempotencyKey.objects.create(key=str(age), expires_at=now - age)
        Receipt.objects.create(callback=uuid.uuid4(), received_at=now - 30 * DAY - age)
    for name, model in (("clean-idempotency-keys", IdempotencyKey), ("clean-receipts", Receipt)):
        assert run(name).progress_message == "1 found, 1 done, 0 failed"
        assert run(name).progress_message == NOTHING
        assert model.objects.count() == 1


def test_sessions_go_when_they_expire(run: Any) -> None:
    for seconds in (-60, 3600):
        session = SessionStore()
        session.set_expiry(timezone.now() + dt.timedelta(seconds=seconds))
        session.save()
    assert run("clean-sessions").progress_message == "1 found, 1 done, 0 failed"
    assert Session.objects.count() == 1


def test_periodic_emails_are_those_that_packages_have_registered(make: Any, run: Any) -> None:
    yesterday = timezone.now() - DAY
    for silent in (DAY, DAY, dt.timedelta(0)):
        make.run(silent=silent, state=RunState.SUCCEEDED)
    assert run("billing-meter-usage").progress_message == "1 found, 1 done, 0 failed"
    for _ in range(2):
        assert run("send-periodic-emails").progress_message == "1 found, 1 done, 0 failed"
    (sent,) = mail.outbox
    assert (sent.subject, sent.body) == (f"Runs of {yesterday:%Y-%m-%d}", "acme: 2")


def test_without_packages_no_email_is_sent(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mails, "_handlers", {})
    assert run("send-periodic-emails").progress_message == NOTHING
    assert (mail.outbox, SentMail.objects.count()) == ([], 0)


def test_a_handler_of_emails_that_fails_stops_no_other_and_nothing_is_sent_twice(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(now: dt.datetime) -> Any:
        yield "first", EmailMessage("first", to=["a@validations.example"])
        yield "nobody's", EmailMessage("second\nBcc: everybody", to=["b@validations.example"])

    def whole(now: dt.datetime) -> Any:
        yield "only", EmailMessage("only", to=["c@validations.example"])

    monkeypatch.setattr(mails, "_handlers", {"half": half, "whole": whole})
    for _ in range(2):
        assert run("send-periodic-emails").progress_message == "2 found, 1 done, 1 failed"
    assert [each.subject for each in mail.outbox] == ["first", "only"]


def test_a_call_does_one_batch_and_with_everything_all_of_them(make: Any) -> None:
    for _ in range(7):
        make.submission()
    assert tasks.purge_expired_submissions(batch_size=2, dry_run=True) == {"found": 2}
    assert tasks.purge_expired_submissions(batch_size=2) == {"found": 2, "done": 2, "failed": 0}
    assert tasks.purge_expired_submissions(batch_size=2, everything=True, dry_run=True) == {"found": 5}
    assert tasks.purge_expired_submissions(batch_size=2, everything=True) == {"found": 5, "done": 5, "failed": 0}


def test_batches_get_past_what_fails(make: Any) -> None:
    broken = [make.output() for _ in range(3)]
    for each in broken:
        make.stuck(each)
    make.output()
    type(broken[0]).objects.update(failures=1, retry_at=timezone.now())
    assert tasks.retry_failed_purges(batch_size=2, everything=True) == {"found": 4, "done": 1, "failed": 3}


def test_what_is_gone_by_the_time_of_its_batch_is_no_failure(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    late = make.run(silent=31 * MINUTE)
    pages = tasks.pages

    def speak_up_after_it_was_read(rows: Any, how: Any) -> Any:
        for page in pages(rows, how):
            type(late).objects.update(heard_at=timezone.now())
            yield page

    monkeypatch.setattr(tasks, "pages", speak_up_after_it_was_read)
    assert tasks.mark_hung_runs_failed() == {"found": 1, "done": 0, "failed": 0}
    late.refresh_from_db()
    assert late.state == "running"
