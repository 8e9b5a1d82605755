"""What readers are told of running jobs, canvases and attempts, and who may see it."""

import datetime as dt
import io
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core import signing
from django.template import engines
from django.test import Client, RequestFactory, override_settings

from taskyard import Batch, current_job, task
from taskyard.batches.teller import Teller
from taskyard.entrypoint.screen import Screen
from taskyard.entrypoint.tail import Tail
from taskyard.integrations.progress.access import Subject, may_see_result, read, sign
from taskyard.jobs.models import Job
from taskyard.jobs.progress.canvas import family_progress
from taskyard.jobs.progress.reading import progress_of, with_family
from taskyard.jobs.running import RunningJob
from taskyard.jobs.scribe import scribe
from tests.app.tasks import add, nothing
from tests.integration.shelf import put, start
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    scribe().close()


def running(**values: Any) -> Job:
    said = {"progress_current": 40, "progress_total": 100, "progress_message": "reading", "progress_at": NOW + SECOND}
    return put(NOW, **{"state": "running", "attempt": 1, "started_at": NOW, **said, **values})


# attempts


def test_an_attempt_that_starts_over_is_at_zero_and_one_with_a_checkpoint_where_the_last_one_was() -> None:
    again = {"attempt": 2, "max_attempts": 3, "started_at": NOW + 60 * SECOND, "counts": {"succeeded": 40, "failed": 0}}
    over, on = running(**again), running(checkpoint={"page": 40}, **again)

    found = progress_of([over.id, on.id])

    assert (found[over.id].current, found[on.id].current) == (0, 40)
    assert (found[over.id].counts, found[on.id].counts) == ({}, {"succeeded": 40, "failed": 0})
    assert found[over.id].is_of_earlier_attempt and found[on.id].is_of_earlier_attempt
    assert (found[over.id].is_from_zero, found[on.id].is_from_zero) == (True, False)
    # It waits for its next attempt: what the last one reached stands.
    Job.objects.filter(id=over.id).update(state="retrying")
    assert progress_of([over.id])[over.id].current == 40


@task
def counts_twice(path: str = "") -> int:
    job = current_job()
    for n in job.track(range(4)):
        if n == 2 and job.attempt == 1:
            raise ValueError("in the middle")
    return 4


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_items_that_an_attempt_does_again_are_not_counted_twice() -> None:
    from taskyard import RetryPolicy

    retried = task(name="app.counts_twice_retried", retry=RetryPolicy(max_retries=1, backoff=dt.timedelta(0)))(
        counts_twice.func
    )
    job = Job.objects.get(id=retried.enqueue().id)
    assert (job.state, job.attempt, job.counts) == ("succeeded", 2, {"succeeded": 4, "failed": 0})


def test_a_child_that_a_body_forks_can_report_as_well() -> None:
    claim = start(put(NOW, state="queued"), NOW)
    job = RunningJob(claim.id, claim.task, token=claim.token, attempt=1)
    job.progress(1, 10)
    wait_until(lambda: Job.objects.get(id=job.id).progress_current == 1, 30, "the first report")
    stays, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            job.progress(2, 10)
            os.read(stays, 1)
        finally:
            os._exit(0)
    try:
        wait_until(lambda: Job.objects.get(id=job.id).progress_current == 2, 15, "the child's report")
    finally:
        os.close(go)
        os.close(stays)
        os.waitpid(child, 0)
        scribe().forget(job)


@task
def says_nonsense() -> str:
    current_job().progress(1, 2, "nul \0")
    return "done"


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_a_message_that_the_database_would_refuse_does_not_end_the_job() -> None:
    job = Job.objects.get(id=says_nonsense.enqueue().id)
    assert (job.state, job.progress_message) == ("succeeded", "nul \N{REPLACEMENT CHARACTER}")


# canvases


def test_a_group_is_followed_by_its_id_though_it_has_no_job_of_its_own() -> None:
    result = group(add.s(1, n) for n in range(4)).apply_async()
    root = uuid.UUID(result.id)
    Job.objects.filter(id=uuid.UUID(result.children[0].id)).update(
        state="running", started_at=NOW, progress_current=5, progress_total=10, progress_at=NOW
    )
    Job.objects.filter(id=uuid.UUID(result.children[1].id)).update(state="succeeded", finished_at=NOW)

    found = with_family(root, None)

    assert found is not None
    assert (found.state, found.current, found.total, found.percent) == ("running", 1.5, 4, 37.5)
    assert progress_of([root]) == {}
    Job.objects.filter(root=root).update(state="failed", finished_at=NOW)
    ended = with_family(root, None)
    assert ended is not None
    assert (ended.state, ended.is_final, ended.percent) == ("failed", True, 100)


def test_steps_that_are_no_jobs_yet_are_part_of_a_canvas() -> None:
    first = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
    while first.parent is not None:
        first = first.parent
    family = family_progress(uuid.UUID(first.id))
    assert family is not None
    assert (family.current, family.total, family.is_over) == (0, 3, False)

    whole = (group(add.s(1, n) for n in range(3)) | add.si(0, 0) | add.s(1)).apply_async()
    while whole.parent is not None:
        whole = whole.parent
    family = family_progress(uuid.UUID(whole.id))
    assert family is not None
    assert (family.current, family.total) == (0, 5)


def test_what_a_chord_becomes_is_told_from_its_members() -> None:
    result = chord([add.s(1, n) for n in range(3)], add.si(1, 1)).apply_async()
    family = family_progress(uuid.UUID(result.parent.id))
    assert family is not None
    assert family.total == 4


def test_a_family_is_counted_for_a_tenant_alone() -> None:
    root = running(tenant="acme")
    put(NOW, root=root.id, parent=root.id, tenant="acme")
    put(NOW, root=root.id, parent=root.id, tenant="globex")
    mine, everybodys = family_progress(root.id, tenant="acme"), family_progress(root.id)
    assert mine is not None and everybodys is not None
    assert (mine.total, everybodys.total) == (2, 3)


@override_settings(CELERY_TASK_ALWAYS_EAGER=True)
def test_what_a_celery_task_says_by_update_state_is_progress() -> None:
    from celery import shared_task

    @shared_task(bind=True, name="app.updates_state")
    def updates(self: Any) -> str:
        self.update_state(state="PROGRESS", meta={"current": 3, "total": 4, "description": "three"})
        return "done"

    result = updates.delay()
    job = Job.objects.get(id=result.id)
    assert (job.progress_current, job.progress_total, job.progress_message) == (3, 4, "three")


# who may see it


def client_of(name: str, *permissions: str, is_staff: bool = False) -> tuple[Client, User]:
    user = User.objects.create_user(name, is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="taskyard"))
    client = Client()
    client.force_login(user)
    return client, user


def test_a_job_is_shown_to_its_creator_to_operators_and_to_nobody_else() -> None:
    client, user = client_of("ada")
    job = running(created_by=str(user.pk))
    address = f"/taskyard/progress/?job={job.id}"

    def answer(client: Client) -> int:
        return client.get(address).status_code

    assert answer(client) == 200
    assert answer(Client()) == 404
    assert answer(client_of("somebody")[0]) == 404
    assert answer(client_of("staff", is_staff=True)[0]) == 404
    assert answer(client_of("not-staff", "view_job")[0]) == 404
    assert answer(client_of("operator", "view_job", is_staff=True)[0]) == 200
    # Nor does anybody learn whether there is one.
    unknown = Client().get(f"/taskyard/progress/?job={uuid.uuid4()}")
    assert unknown.status_code == 404


def test_a_job_without_a_creator_is_not_that_of_whoever_is_not_logged_in() -> None:
    assert Client().get(f"/taskyard/progress/?job={running().id}").status_code == 404


def test_a_link_is_good_for_its_job_and_for_a_day() -> None:
    job, other = running(), running()
    link = sign(Subject(job.id))
    assert Client().get("/taskyard/progress/", {"job": link}).json()["jobs"][0]["job"] == link
    forged = link.replace(str(job.id), str(other.id))
    assert Client().get("/taskyard/progress/", {"job": forged}).status_code == 404
    widened = link.replace(str(job.id), f"{job.id}*")
    assert Client().get("/taskyard/progress/", {"job": widened}).status_code == 404
    foreign = signing.TimestampSigner(salt="another").sign(str(job.id))
    assert read(foreign) is None
    import time_machine

    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=25)):
        assert read(link) is None


def test_a_project_decides_for_itself_who_may_see_a_job() -> None:
    job = running(subject_type="app.note", subject_id="7")
    access = {"PROGRESS_ACCESS": lambda request, job: job.subject_id == "7" and request.GET.get("me") == "yes"}
    with override_settings(TASKYARD=access):
        assert Client().get(f"/taskyard/progress/?me=yes&job={job.id}").status_code == 200
        assert Client().get(f"/taskyard/progress/?me=no&job={job.id}").status_code == 404


@override_settings(TASKYARD={"TENANCY": "rows", "TENANTS": lambda name=None: None})
def test_within_a_tenant_an_operator_sees_its_jobs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskyard.operations.acting import actor

    client, _ = client_of("operator", "view_job", is_staff=True)
    job = running(tenant="acme")
    for tenant, code in (("acme", 200), ("globex", 404), ("", 404)):
        monkeypatch.setattr(actor, "current_tenant", lambda tenant=tenant: tenant)
        assert client.get(f"/taskyard/progress/?job={job.id}").status_code == code


def test_several_jobs_are_asked_for_at_once_and_those_that_are_not_there_are_named() -> None:
    links = [sign(Subject(running().id)) for _ in range(2)]
    gone = str(uuid.uuid4())
    said = Client().get("/taskyard/progress/", {"job": [*links, gone, "nonsense"]}).json()
    assert [job["job"] for job in said["jobs"]] == links
    assert said["missing"] == [gone, "nonsense"]
    assert Client().get("/taskyard/progress/").status_code == 400
    assert Client().get("/taskyard/progress/", {"job": ["x"] * 51}).status_code == 400
    assert Client().post("/taskyard/progress/").status_code == 405


def test_nothing_of_the_payload_is_told() -> None:
    secret = "hunter2"
    job = running(
        kwargs={"password": secret}, result=secret, error={"type": "E", "message": secret, "reason": ""},
        checkpoint=secret, counts={"failed": 1, "errors": [{"item": secret, "error": secret}]},
    )  # fmt: skip
    said = Client().get("/taskyard/progress/", {"job": sign(Subject(job.id))})
    assert said.json()["jobs"][0]["counts"] == {"failed": 1}
    assert secret not in said.text


# the template tag


def rendered(job: Any, **context: Any) -> str:
    request = RequestFactory().get("/here/?page=2")
    text = "{% load taskyard %}{% taskyard_progress job label='Import' %}"
    return engines["django"].from_string(text).render({"job": job, **context}, request)


def test_the_tag_shows_a_bar_and_a_sentence_without_javascript() -> None:
    html = rendered(running())
    assert '<progress class="taskyard-bar" aria-label="Import" max="100" value="40.00">' in html
    assert '<strong class="taskyard-words">running</strong>' in html
    assert "40 of 100 (40 %), 40 a second, a few seconds left, reading" in html
    assert 'href="/here/?page=2"' in html
    assert "<script>" not in html and "style=" not in html and " on" + "click" not in html
    assert 'data-job="' in html


def test_the_tag_says_when_a_job_has_ended_or_is_not_there() -> None:
    done = rendered(put(NOW, state="succeeded", finished_at=NOW).id)
    assert 'value="100.00"' in done
    assert "data-job" not in done and "Look again" not in done
    assert "There is no such job" in rendered(uuid.uuid4())
    assert "There is no such job" in rendered(None)


def test_the_tag_gives_its_files_the_nonce_of_the_page() -> None:
    assert '/static/taskyard/progress.js" nonce="abc"' in rendered(running(), csp_nonce="abc")


def test_what_a_job_says_is_escaped() -> None:
    assert "<b>" not in rendered(running(progress_message="<b>bold</b>"))


def test_the_tag_brings_its_files_along_once() -> None:
    job = running()
    text = "{% load taskyard %}{% taskyard_progress job %}{% taskyard_progress job %}"
    html = engines["django"].from_string(text).render({"job": job}, RequestFactory().get("/"))
    assert html.count("progress.js") == 1
    assert html.count('class="taskyard-progress"') == 2


def test_the_tag_takes_celerys_results_and_finds_the_whole_canvas() -> None:
    result = chord([add.s(1, n) for n in range(3)], add.si(1, 1)).apply_async()
    text = "{% load taskyard %}{% taskyard_progress result family=True %}"
    html = engines["django"].from_string(text).render({"result": result}, RequestFactory().get("/"))
    assert "0 of 4 (0 %)" in html


def test_the_tag_shows_a_batch_to_whoever_has_its_link() -> None:
    with Batch.open("embed all") as batch:
        batch.enqueue_many(nothing, ({"n": n} for n in range(4)))
    Batch.objects.filter(id=batch.id).update(succeeded=1, failed=1)
    batch.refresh_from_db()
    html = rendered(batch)
    assert "2 of 4 (50 %)" in html
    assert "1 failed" in html
    (reference,) = re.findall('data-job="([^"]+)"', html)
    (told,) = Client().get("/taskyard/progress/", {"job": reference}).json()["jobs"]
    assert (told["state"], told["percent"], told["is_final"]) == ("running", 50, False)
    # Its bare id is for staff, and nobody else.
    bare = {"job": str(Subject(batch.id, batch=True))}
    assert client_of("ada", "view_job", is_staff=True)[0].get("/taskyard/progress/", bare).status_code == 404
    assert client_of("operator", "view_batch", is_staff=True)[0].get("/taskyard/progress/", bare).status_code == 200
    batch.cancel()
    assert '<strong class="taskyard-words">running, asked to stop</strong>' in rendered(Batch.objects.get())
    Teller().run_once(NOW)
    assert '<strong class="taskyard-words">cancelled</strong>' in rendered(Batch.objects.get())


# celery-progress


def test_pages_of_celery_progress_get_its_shape() -> None:
    client, user = client_of("ada")
    job = running(created_by=str(user.pk))

    def said() -> Any:
        return client.get(f"/celery-progress/{job.id}/").json()

    assert said() == {
        "state": "PROGRESS", "complete": False, "success": None,
        "progress": {"pending": False, "current": 40, "total": 100, "percent": 40.0, "description": "reading"},
    }  # fmt: skip
    Job.objects.filter(id=job.id).update(state="retrying")
    assert said()["complete"] is False
    Job.objects.filter(id=job.id).update(state="succeeded", finished_at=NOW, result={"rows": 3})
    assert said() == {
        "state": "SUCCESS", "complete": True, "success": True, "result": {"rows": 3},
        "progress": {"pending": False, "current": 100, "total": 100, "percent": 100},
    }  # fmt: skip
    Job.objects.filter(id=job.id).update(state="failed", error={"type": "ValueError", "message": "odd", "reason": ""})
    assert (said()["state"], said()["success"], said()["result"]) == ("FAILURE", False, "ValueError: odd")
    assert Client().get(f"/celery-progress/{job.id}/").status_code == 404
    assert client.get("/celery-progress/nothing-of-ours/").status_code == 404


def test_what_a_job_returned_is_for_its_creator_and_who_may_see_payload() -> None:
    job = running(created_by="somebody")
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    assert not may_see_result(request, job)
    _, request.user = client_of("operator", "view_job", is_staff=True)
    Job.objects.filter(id=job.id).update(state="succeeded", finished_at=NOW, result="secret")
    operator = Client()
    operator.force_login(request.user)
    assert operator.get(f"/celery-progress/{job.id}/").json()["result"] is None


def test_a_task_that_waits_has_not_begun_for_celery_progress() -> None:
    client, _ = client_of("operator", "view_job", is_staff=True)
    job = put(NOW)
    assert client.get(f"/celery-progress/{job.id}/").json() == {
        "state": "PENDING", "complete": False, "success": None,
        "progress": {"pending": True, "current": 0, "total": 100, "percent": 0},
    }  # fmt: skip


# the terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def followed(out: io.StringIO, moves: list[dict[str, Any]]) -> Job:
    """What ``jobs tail`` writes while a job moves, a second after the other."""
    tail = Tail(Screen(out, out))
    job = running(task="app.walk", started_at=dt.datetime.now(dt.UTC), progress_at=dt.datetime.now(dt.UTC))
    for number, values in enumerate(moves):
        at = job.started_at + number * SECOND
        Job.objects.filter(id=job.id).update(**{"progress_at": at, **values})
        tail.look(at)
    return job


@pytest.fixture
def xterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_on_a_terminal_a_running_job_has_a_bar_that_is_drawn_anew_in_its_place(xterm: None) -> None:
    out = Terminal()
    job = followed(out, [{"progress_current": 10}, {"progress_current": 30}])

    first, second = out.getvalue().split("\033[1F\033[J")
    assert f"started    app.walk {job.id}\n" in first
    assert f"\033[36m██░░░░░░░░░░░░░░░░░░\033[0m app.walk {str(job.id)[-12:]} 10 of 100 (10 %)" in first
    assert second.startswith("\033[36m██████░░░░░░░░░░░░░░\033[0m")
    assert "30 of 100 (30 %), 20 a second, a few seconds left, reading" in second


def test_what_happens_is_told_above_the_bars(xterm: None) -> None:
    out = Terminal()
    followed(out, [{}, {"state": "succeeded", "finished_at": dt.datetime.now(dt.UTC) + SECOND / 2}])
    _, last = out.getvalue().split("\033[1F\033[J")
    assert "succeeded" in last and "█" not in last


def test_no_color_leaves_the_bars_their_shape(xterm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    followed(out, [{}])
    assert "\n████████░░░░" in out.getvalue() and "\033[36m" not in out.getvalue()


def test_without_a_terminal_progress_is_told_in_lines() -> None:
    out = io.StringIO()
    job = followed(out, [{"progress_current": 10}, {"progress_current": 10}, {"progress_current": 50}])
    lines = [line for line in out.getvalue().splitlines() if "progress" in line]
    assert "\033" not in out.getvalue()
    assert [line.split(str(job.id))[1] for line in lines] == [
        " 10 of 100 (10 %), reading", " 50 of 100 (50 %), 20 a second, a few seconds left, reading"
    ]  # fmt: skip


def test_progress_of_the_attempt_before_is_not_told_as_news() -> None:
    out = io.StringIO()
    followed(out, [{"attempt": 2, "progress_at": NOW}])
    assert "progress" not in out.getvalue()
