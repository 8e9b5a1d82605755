"""The admin of what is operated, as its pages are used: what they show, what they send, what becomes of it."""

import datetime as dt
import html
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.utils import timezone

from taskyard.failures.fingerprint import Fault
from taskyard.failures.record import failed as record_failure
from taskyard.jobs.models import Attempt, Job
from taskyard.jobs.pages import keyset, queues
from taskyard.models import AuditEntry, Batch, FailureGroup, QueueSetting, Worker
from taskyard.operations.bulk.task import operate
from taskyard.testing import run_jobs
from tests.app.tasks import nothing
from tests.integration.forms import sent_by
from tests.integration.shelf import put, register

pytestmark = pytest.mark.django_db

ROOT = "/admin/taskyard/"
JOBS = f"{ROOT}job/"
GROUP = "1-00112233aabbccdd"


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return user


def text_of(response: Any) -> str:
    assert response.status_code == 200, (response.status_code, response.headers.get("Location"))
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def rows_of(response: Any) -> list[Any]:
    return [row.pk for row in response.context["cl"].result_list]


def answer(client: Client, page: str, **typed: Any) -> Any:
    """Open a page that asks, type something, send it, and see where one ends up."""
    form = sent_by(client.get(page).content.decode(), "ask_form", **typed)
    assert form, "nothing is asked"
    return client.post(page, form, follow=True)


def make_failed(now: dt.datetime, tenant: str = "", **values: Any) -> Job:
    error = {"type": "builtins.ValueError", "message": "row 17 is wrong", "reason": ""}
    said = {"state": "failed", "finished_at": now, "started_at": now, "attempt": 1, "error": error, **values}
    job = put(now, tenant=tenant, **said)
    Attempt.objects.create(
        job=job, number=1, error_type="builtins.ValueError", error_message="row 17 is wrong",
        traceback="Traceback\n  in row_17", started_at=now, ended_at=now,
    )  # fmt: skip
    fault = Fault("app.nothing", "builtins.ValueError", message="row 17 is wrong", frames=("app:f",))
    record_failure(fault, job_id=job.id, tenant=tenant, now=now, alias="default")
    return job


# -- jobs: the list ----------------------------------------------------------------------------------------------------


def test_the_list_says_of_each_job_what_it_is_doing_and_why(client: Client, ada: User) -> None:
    now = timezone.now()
    make_failed(now, tenant="acme")
    put(now, state="running", started_at=now, progress_current=30, progress_total=60, cancel_requested_at=now)
    put(now, available_at=now + dt.timedelta(minutes=10), due=False, priority=5)
    said = text_of(client.get(JOBS))
    for words in ("✗ failed", "ValueError: row 17 is wrong", "acme", "▶ running, asked to stop", "50 %",
                  "due in 10 min", "celery +5"):  # fmt: skip
        assert words in said, (words, said)


FILTERED = {
    "state=failed": {"old", "failed"}, "state=unended": {"due", "running"}, "state=running": {"running"},
    "age=day": {"due", "running", "failed"}, "task=app.other": {"due"}, "queue=low": {"failed"},
    "tenant=acme": {"running", "failed"}, "state=failed&age=day": {"failed"}, "tenant=acme&state=failed": {"failed"},
    "q=app.ot": {"due"}, "q=app.note:7": {"running"}, "q=nothing+at+all": set(),
}  # fmt: skip


def test_the_list_is_narrowed_by_its_filters_and_the_search(client: Client, ada: User) -> None:
    now = timezone.now()
    ago = now - dt.timedelta(days=3)
    jobs = {
        "old": put(ago, state="failed", finished_at=ago),
        "failed": put(now, state="failed", finished_at=now, queue="low", tenant="acme"),
        "due": put(now, task="app.other"),
        "running": put(now, state="running", started_at=now, tenant="acme", subject_type="app.note", subject_id="7"),
    }
    for asked, names in FILTERED.items():
        assert set(rows_of(client.get(f"{JOBS}?{asked}"))) == {jobs[name].id for name in names}, asked
    assert rows_of(client.get(JOBS, {"q": str(jobs["old"].id)})) == [jobs["old"].id]


def test_a_foreign_id_of_celery_is_searched_for_as_it_was_given(client: Client, ada: User) -> None:
    from taskyard.jobs.ids import job_id

    Job.objects.filter(id=put(timezone.now()).id).update(id=job_id("report-17"), task_id="report-17")
    assert rows_of(client.get(JOBS, {"q": "report-17"})) == [job_id("report-17")]


def test_pages_go_on_where_the_one_before_ended_whatever_came_meanwhile(client: Client, ada: User) -> None:
    now = timezone.now()
    # Some were created in one instant.
    jobs = [put(now - dt.timedelta(seconds=number // 40)) for number in range(120)]
    seen, address, pages = [], JOBS, 0
    while address:
        response = client.get(address)
        seen += rows_of(response)
        put(timezone.now())
        following = response.context["cl"].next_at
        address, pages = f"{JOBS}{following}" if following else "", pages + 1
    assert (pages, len(seen)) == (3, len(set(seen)))
    assert set(seen) == {job.id for job in jobs}
    assert rows_of(client.get(f"{JOBS}?after=nonsense"))[0] not in set(seen)


def test_a_page_that_looked_at_enough_says_so_and_the_next_one_looks_further(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "MOST_LOOKED", 10)
    now = timezone.now()
    wanted = put(now - dt.timedelta(hours=1), task="app.rare")
    for number in range(15):
        put(now - dt.timedelta(seconds=number))
    first = client.get(f"{JOBS}?task=app.rare")
    assert rows_of(first) == []
    assert "none matches. There may be more further back." in text_of(first)
    second = client.get(f"{JOBS}{first.context['cl'].next_at}")
    assert rows_of(second) == [wanted.id]
    assert not second.context["cl"].next_at


def test_nothing_but_the_filters_may_be_asked_for(client: Client, ada: User) -> None:
    job = put(timezone.now(), kwargs={"pin": "4711"})
    for asked in ("kwargs__contains=4711", "error__isnull=1", f"id={job.id}"):
        with override_settings(DEBUG=False):
            assert client.get(f"{JOBS}?{asked}").status_code == 400, asked


# -- jobs: the page ----------------------------------------------------------------------------------------------------


def test_the_page_of_a_job_has_all_that_is_known_and_links_to_what_has_to_do_with_it(client: Client, ada: User) -> None:
    now = timezone.now()
    parent = put(now)
    batch = Batch.objects.create(name="nightly", created_at=now, updated_at=now, stale_at=now, stale_after=60)
    job = make_failed(
        now, kwargs={"n": 17}, parent=parent.id, root=parent.id, subject_type="auth.user", subject_id=str(ada.pk),
        batch=batch.id, created_by=str(ada.pk), counts={"succeeded": 3, "failed": 1, "errors": [
            {"item": "page 4", "error": "torn"},
        ]},
    )  # fmt: skip
    child = put(now, parent=job.id, root=parent.id)
    response = client.get(f"{JOBS}{job.id}/change/")
    said, page = text_of(response), response.content.decode()
    for words in ("✗ failed", "n=17", "Attempt 1: builtins.ValueError", "in row_17", "3 succeeded, 1 failed",
                  "page 4: torn", "1 of 1 allowed", "Created by ada", "1 pending"):  # fmt: skip
        assert words in said, (words, said)
    group = FailureGroup.objects.get().pk
    for link in (f"{JOBS}{parent.id}/change/", f"{JOBS}{child.id}/change/", f"/admin/auth/user/{ada.pk}/change/",
                 f"{ROOT}batch/{batch.id}/change/", f"{ROOT}failuregroup/{group}/change/"):  # fmt: skip
        assert f'href="{link}"' in page, link


def test_the_page_of_a_job_that_waits_says_why_and_one_that_runs_how_far_it_is(client: Client, ada: User) -> None:
    now = timezone.now()
    waits = put(now, queue="forgotten")
    assert "no live worker consumes queue 'forgotten'" in text_of(client.get(f"{JOBS}{waits.id}/change/"))
    runs = put(now, state="running", started_at=now, progress_current=3, progress_total=4)
    page = client.get(f"{JOBS}{runs.id}/change/").content.decode()
    assert re.search(r'<progress[^>]* value="75', page)
    assert "data-events-at" in page


def test_the_buttons_of_a_job_are_the_verbs_for_its_state_and_whoever_looks(client: Client, ada: User) -> None:
    now = timezone.now()
    failed, due = make_failed(now), put(now)
    offered = lambda job: [verb for verb, _ in client.get(f"{JOBS}{job.id}/change/").context["verbs"]]  # noqa: E731
    assert offered(failed) == ["retry", "discard", "edit", "copy"]
    assert offered(due) == ["cancel"]
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_job", "retry_job"]))
    client.force_login(user)
    assert offered(failed) == ["retry"]


# -- jobs: verbs -------------------------------------------------------------------------------------------------------


def test_a_job_is_retried_cancelled_discarded_and_each_is_in_the_audit(client: Client, ada: User) -> None:
    now = timezone.now()
    jobs = {"retry": make_failed(now), "cancel": put(now), "discard": make_failed(now)}
    for verb, job in jobs.items():
        assert text_of(answer(client, f"{JOBS}{job.id}/{verb}/", reason="because"))
    states = {verb: Job.objects.get(id=job.id).state for verb, job in jobs.items()}
    assert states == {"retry": "pending", "cancel": "cancelled", "discard": "cancelled"}
    entries = AuditEntry.objects.order_by("id").values_list("verb", "who", "via", "reason", "address")
    assert list(entries) == [(verb, "ada", "admin", "because", "127.0.0.1") for verb in jobs]


def test_what_cannot_be_taken_back_takes_a_reason(client: Client, ada: User) -> None:
    job = make_failed(timezone.now())
    assert "This field is required" in text_of(answer(client, f"{JOBS}{job.id}/discard/", reason=""))
    assert Job.objects.get(id=job.id).state == "failed"


def test_arguments_are_edited_and_bad_ones_are_said_at_the_form(client: Client, ada: User) -> None:
    job = nothing.enqueue(n=1)
    Job.objects.filter(id=job.id).update(state="failed", finished_at=timezone.now(), attempt=1)
    page = f"{JOBS}{job.id}/edit/"
    refused = answer(client, page, kwargs='{"m": 2}')
    assert refused.status_code == 409
    assert "unexpected keyword argument" in html.unescape(refused.content.decode())
    assert "This is no JSON" in text_of(answer(client, page, kwargs="{"))
    assert "brought back with these arguments" in text_of(answer(client, page, kwargs='{"n": 2}'))
    assert Job.objects.values("state", "kwargs").get(id=job.id) == {"state": "pending", "kwargs": {"n": 2}}


def test_a_copy_is_a_new_job_and_leads_to_its_page(client: Client, ada: User) -> None:
    job = nothing.enqueue(n=1)
    Job.objects.filter(id=job.id).update(state="succeeded", finished_at=timezone.now(), attempt=1)
    response = answer(client, f"{JOBS}{job.id}/copy/", kwargs='{"n": 5}')
    new = Job.objects.exclude(id=job.id).get()
    assert (new.kwargs, new.state) == ({"n": 5}, "pending")
    assert response.redirect_chain[-1][0] == f"{JOBS}{new.id}/change/"


def test_those_chosen_in_the_list_are_done_after_a_question(client: Client, ada: User) -> None:
    now = timezone.now()
    jobs = [make_failed(now) for _ in range(3)]
    chosen = {"action": "retry_chosen", "_selected_action": [str(job.id) for job in jobs[:2]], "select_across": "1"}
    asked = client.post(JOBS, chosen)
    assert "Retry 2 jobs" in text_of(asked)
    assert Job.objects.failed().count() == 3
    done = client.post(JOBS, sent_by(asked.content.decode(), "ask_form", reason="again"), follow=True)
    assert "2 of 2 jobs: brought back." in text_of(done)
    assert [job.id for job in Job.objects.failed()] == [jobs[2].id]


def test_all_that_match_are_counted_then_done_by_a_job_that_shows_how_far_it_is(client: Client, ada: User) -> None:
    now = timezone.now()
    jobs = [make_failed(now, queue="low") for _ in range(3)]
    other = make_failed(now)
    links = dict(client.get(f"{JOBS}?state=failed&queue=low").context["for_all"])
    assert set(links) == {"Retry", "Discard"}
    asked = text_of(client.get(links["Retry"]))
    assert "3 jobs match now (state failed, queue low)" in asked
    shown = text_of(answer(client, links["Retry"], reason="the disk is back", rate="1000"))
    [doer] = Job.objects.filter(task=operate.name)
    assert "ada had this job retry jobs:" in shown
    assert "Abort it" in shown
    run_jobs()
    assert not Job.objects.failed().filter(id__in=[job.id for job in jobs]).exists()
    assert Job.objects.get(id=other.id).state == "failed"
    after = text_of(client.get(f"{JOBS}{doer.id}/change/"))
    assert "Changed: 3 (done)" in after
    assert "Abort it" not in after


def test_what_does_all_jobs_is_aborted_before_it_begins(client: Client, ada: User) -> None:
    job = make_failed(timezone.now())
    answer(client, f"{JOBS}all/retry/?state=failed", reason="try")
    [doer] = Job.objects.filter(task=operate.name)
    answer(client, f"{JOBS}{doer.id}/cancel/", reason="no")
    run_jobs()
    assert Job.objects.get(id=job.id).state == "failed"


def test_nobody_does_something_to_all_jobs_there_are(client: Client, ada: User) -> None:
    assert client.get(JOBS).context["for_all"] == []
    assert client.post(f"{JOBS}all/cancel/", {"said": "yes", "reason": "x"}).status_code == 404


# -- queues, workers, audit --------------------------------------------------------------------------------------------


def test_queues_show_what_stands_in_them_and_are_paused_resumed_limited(client: Client, ada: User) -> None:
    now = timezone.now()
    put(now, queue="low")
    put(now, queue="low", available_at=now + dt.timedelta(hours=1), due=False)
    put(now, queue="low", state="running", started_at=now)
    register(now, "low", slots=4)
    page = f"{ROOT}queuesetting/"
    [line] = [each for each in client.get(page).context["rows"] if each["row"].name == "low"]
    row = line["row"]
    assert (row.due, row.later, row.running, row.workers, row.slots) == (1, 1, 1, 1, 4)
    assert "Queue low is paused." in text_of(answer(client, f"{page}pause/low/", reason="disk full"))
    assert "disk full" in text_of(client.get(page))
    answer(client, f"{page}limit/low/", max_running="3", rate="10", per="1 min")
    assert "at most 3 at a time, 10 starts in 1 min" in text_of(client.get(page))
    answer(client, f"{page}resume/low/")
    setting = QueueSetting.objects.get()
    assert (setting.paused_at, setting.max_running, setting.rate_seconds) == (None, 3, 60)
    assert list(AuditEntry.objects.order_by("id").values_list("verb", flat=True)) == ["pause", "limit", "resume"]


def test_a_queue_is_cleared_by_a_job_of_its_own(client: Client, ada: User) -> None:
    waits, other = put(timezone.now(), queue="low"), put(timezone.now(), queue="high")
    page = f"{ROOT}queuesetting/clear/low/"
    assert "1 job waits in it now" in text_of(client.get(page))
    answer(client, page, reason="they are of yesterday")
    run_jobs()
    assert [Job.objects.get(id=job.id).state for job in (waits, other)] == ["cancelled", "succeeded"]


def test_a_backlog_is_counted_no_further_than_it_has_to(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MOST_COUNTED", 3)
    now = timezone.now()
    for number in range(5):
        put(now, queue="low", priority=number % 2, tenant="acme")
        put(now, queue="low", available_at=now + dt.timedelta(hours=1), due=False)
    [low] = [each for each in queues.glance(now) if each.name == "low"]
    assert (low.due, low.is_more_due, low.later, low.oldest_due_at) == (4, True, None, None)
    [own] = [each for each in queues.glance(now, tenant="acme") if each.name == "low"]
    assert own.is_more_due
    assert not [each for each in queues.glance(now, tenant="globex") if each.name == "low" and each.due]


def test_a_worker_is_told_to_stop_after_a_question(client: Client, ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskyard.tasks.doors import door, open_door

    told, before = [], door("stop_worker")
    open_door("stop_worker", told.append)
    try:
        worker = register(timezone.now(), "low")
        assert "w@host" in text_of(client.get(f"{ROOT}worker/"))
        assert "was told to stop" in text_of(answer(client, f"{ROOT}worker/{worker.id}/stop/", reason="new disk"))
    finally:
        open_door("stop_worker", before)
    assert told == ["w@host"]
    assert client.get(f"{ROOT}worker/{uuid.uuid4()}/stop/").status_code == 404


def test_the_audit_is_read_filtered_and_leafed_through(client: Client, ada: User) -> None:
    now = timezone.now()
    said = {"kind": "job", "verb": "cancel", "target": "x", "via": "cli", "at": now}
    AuditEntry.objects.bulk_create([AuditEntry(who=("zoe", "max")[n % 2], **said) for n in range(60)])
    pause = AuditEntry.objects.create(
        at=now, who="zoe", kind="queue", verb="pause", target="low", reason="disk", before={"paused": False}
    )
    page = f"{ROOT}auditentry/"
    first = client.get(page)
    assert rows_of(first)[0] == pause.pk
    assert len(rows_of(client.get(f"{page}{first.context['cl'].next_at}"))) == 11
    assert rows_of(client.get(page, {"verb": "pause"})) == rows_of(client.get(page, {"q": "low"})) == [pause.pk]
    assert len(rows_of(client.get(page, {"who": "max"}))) == 30
    shown = text_of(client.get(f"{page}{pause.pk}/change/"))
    assert "pause queue" in shown
    assert "disk" in shown
    for path in ("add/", f"{pause.pk}/delete/"):
        assert client.post(f"{page}{path}", {"post": "yes"}).status_code == 403


# -- batches and failures ----------------------------------------------------------------------------------------------


def test_batches_show_how_far_they_are_and_are_cancelled(client: Client, ada: User) -> None:
    with Batch.open("nightly") as batch:
        members = [batch.enqueue(nothing, n=number) for number in range(4)]
    Batch.objects.filter(id=batch.id).update(total=4, succeeded=1, failed=1)
    error = {"type": "ValueError", "message": "torn", "reason": ""}
    Job.objects.filter(id=members[0].id).update(state="failed", finished_at=timezone.now(), error=error)
    page = f"{ROOT}batch/"
    assert "50 %" in text_of(client.get(page))
    assert rows_of(client.get(page, {"q": "nightly", "state": "running"})) == rows_of(client.get(page)) == [batch.id]
    assert rows_of(client.get(page, {"state": "completed"})) == []
    shown = text_of(client.get(f"{page}{batch.id}/change/"))
    for words in ("ValueError: torn", "1 succeeded, 1 failed", "3 pending"):
        assert words in shown, (words, shown)
    answer(client, f"{page}{batch.id}/cancel/", reason="wrong file")
    assert set(Job.objects.filter(batch=batch.id).values_list("state", flat=True)) == {"failed", "cancelled"}
    assert AuditEntry.objects.get().verb == "cancel"
    assert client.get(f"{page}{uuid.uuid4()}/change/").status_code == 404


def test_failures_are_groups_with_a_trend_a_sample_and_their_jobs(client: Client, ada: User) -> None:
    now = timezone.now()
    jobs = [make_failed(now, tenant=tenant) for tenant in ("acme", "acme", "globex")]
    page = f"{ROOT}failuregroup/"
    response = client.get(page)
    [group] = rows_of(response)
    assert re.search("ValueError app.nothing row .+ is wrong 3 2 ", text_of(response))
    assert "<rect" in response.content.decode()
    shown = text_of(client.get(f"{page}{group}/change/"))
    for words in ("3 jobs of 2 tenants", "in row_17", "app:f", str(jobs[0].id)):
        assert words in shown, (words, shown)
    assert set(rows_of(client.get(f"{JOBS}?group={group}"))) == {job.id for job in jobs}
    assert rows_of(client.get(page, {"q": "app.oth"})) == []
    assert rows_of(client.get(page, {"q": group})) == [group]


def test_a_group_is_snoozed_noted_resolved_reopened(client: Client, ada: User) -> None:
    make_failed(timezone.now())
    page = f"{ROOT}failuregroup/"
    [group] = rows_of(client.get(page))
    answer(client, f"{page}{group}/snooze/", length="1 d", reason="known")
    assert rows_of(client.get(page)) == []
    assert rows_of(client.get(page, {"state": "snoozed"})) == [group]
    answer(client, f"{page}{group}/note/", text="the disk of host 7")
    assert "the disk of host 7" in text_of(client.get(f"{page}{group}/change/"))
    answer(client, f"{page}{group}/reopen/")
    answer(client, f"{page}{group}/resolve/")
    assert FailureGroup.objects.get().state == "resolved"
    verbs = AuditEntry.objects.order_by("id").values_list("kind", "verb")
    assert list(verbs) == [("failure", verb) for verb in ("snooze", "note", "reopen", "resolve")]
    refused = answer(client, f"{page}{group}/snooze/", length="")
    assert refused.status_code == 409


def test_a_group_is_retried_at_a_rate_by_a_job(client: Client, ada: User) -> None:
    jobs = [make_failed(timezone.now()) for _ in range(3)]
    page = f"{ROOT}failuregroup/"
    [group] = rows_of(client.get(page))
    shown = text_of(answer(client, f"{page}{group}/retry/", rate="1000", reason="mended"))
    assert "ada had this job retry" in shown
    run_jobs()
    assert not Job.objects.failed().filter(id__in=[job.id for job in jobs]).exists()


# -- all of them -------------------------------------------------------------------------------------------------------


def test_no_page_has_a_script_or_a_style_of_its_own(client: Client, ada: User) -> None:
    now = timezone.now()
    job = make_failed(now)
    group = FailureGroup.objects.get().pk
    batch = Batch.objects.create(name="b", created_at=now, updated_at=now, stale_at=now, stale_after=60, total=2)
    register(now, "low")
    put(now, queue="low", state="running", started_at=now, progress_current=1, progress_total=2)
    entry = AuditEntry.objects.create(at=now, who="zoe", kind="job", verb="retry", target="x")
    for page in ("", "job/", f"job/{job.id}/change/", f"job/{job.id}/edit/", f"job/{job.id}/discard/", "worker/",
                 "job/all/retry/?state=failed", "queuesetting/", "queuesetting/limit/low/", "auditentry/",
                 f"auditentry/{entry.pk}/change/", "batch/", f"batch/{batch.id}/change/", "failuregroup/",
                 f"failuregroup/{group}/change/", f"failuregroup/{group}/snooze/"):  # fmt: skip
        response = client.get(ROOT + page)
        assert response.status_code == 200, page
        content = response.content.decode()
        found = re.findall(r"<[^>]+\s(?:style|on\w+)=[^>]*>|<script(?![^>]* src=)[^>]*>[^<]|<style", content)
        # Django's own data for its own scripts.
        assert not [each for each in found if 'type="application/json"' not in each], (page, found)


def test_people_of_a_tenant_see_its_own_and_the_others_are_not_there(client: Client) -> None:
    now = timezone.now()
    own, other = make_failed(now, tenant="acme"), make_failed(now, tenant="globex")
    user = User.objects.create_user("acme-ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskyard"))
    client.force_login(user)
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        assert rows_of(client.get(JOBS)) == rows_of(client.get(JOBS, {"state": "failed"})) == [own.id]
        assert rows_of(client.get(JOBS, {"q": str(other.id)})) == []
        assert client.get(f"{JOBS}?tenant=globex").status_code == 404
        for path in ("change/", "retry/", "edit/", "copy/"):
            assert client.get(f"{JOBS}{other.id}/{path}").status_code == 404, path
        [group] = rows_of(client.get(f"{ROOT}failuregroup/"))
        assert "1 job " in text_of(client.get(f"{ROOT}failuregroup/{group}/change/"))
        assert client.get(f"{ROOT}failuregroup/{group}/resolve/").status_code == 403
        assert client.get(f"{ROOT}queuesetting/pause/celery/").status_code == 403


def test_the_index_offers_what_somebody_may_see(client: Client) -> None:
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_queue", "view_failure"]))
    client.force_login(user)
    page = client.get(ROOT).content.decode()
    seen = set(re.findall(r'href="/admin/taskyard/(\w+)/"', page))
    assert seen == {"queuesetting", "failuregroup"}
    assert not Worker.objects.exists()
