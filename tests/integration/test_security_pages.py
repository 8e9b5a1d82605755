"""What somebody from outside could try with the pages and the API: no login, forged forms, frames, markup in names."""

import datetime as dt

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings

from taskyard.jobs.models import Job
from taskyard.models import AuditEntry, FailureGroup, QueueSetting, TenantSetting, Worker
from taskyard.operations import Actor, tokens
from tests.integration.shelf import put
from tests.integration.test_admin_pages import make_failed
from tests.integration.verb_cases import set_up
from tests.walk import Seen, Walk

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.timeout(400),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="what pages show is the same with each database"),
]

#: What answers to everybody: the API's description, health, and how to log in.
_FOR_ALL = ("/admin/login/", "/admin/jsi18n/", "/taskyard/api/v1/openapi.json", "/taskyard/livez", "/taskyard/readyz")
BAD = "<img src=x onerror=alert(1)>"


def test_without_a_login_no_address_shows_or_does_anything() -> None:
    set_up(dt.datetime.now(dt.UTC))
    # What the pages of the project itself hand out is for whoever it shows those to.
    seen = [each for at in ("admin/", "taskyard/") for each in Walk(Client(), under=at, most=3).go().seen]
    answered = [each for each in seen if each.status == 200 and not each.address.startswith(_FOR_ALL)]
    assert {_page(each) for each in answered} <= {"login"}, [(each.method, each.address) for each in answered]
    assert len(seen) > 100
    assert not AuditEntry.objects.exclude(who="zoe").exists()


def _page(each: Seen) -> str:
    return "login" if 'id="login-form"' in each.text else each.address


def test_no_form_of_another_site_does_anything() -> None:
    now = dt.datetime.now(dt.UTC)
    job = make_failed(now)
    row = tokens.create(Actor.system(), "t", scopes=["read"]).row
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_superuser("ada"))
    entries = AuditEntry.objects.count()
    for page in (f"job/{job.id}/retry/", "queuesetting/pause/celery/", "tenantsetting/pause/acme/",
                 f"apitoken/{row.pk}/revoke/"):  # fmt: skip
        at = f"/admin/taskyard/{page}"
        assert browser.post(at, {"said": "yes", "reason": "x"}).status_code == 403, page
        # Nor is anything done by looking.
        assert browser.get(f"{at}?said=yes&reason=x").status_code == 200, page
    assert browser.post(f"/taskyard/api/v1/jobs/{job.id}/retry", "{}", content_type="text/plain").status_code == 403
    assert AuditEntry.objects.count() == entries
    assert Job.objects.get(id=job.id).state == "failed"
    assert not TenantSetting.objects.paused().exists() and not QueueSetting.objects.paused().exists()


def test_names_arguments_and_words_of_errors_never_become_markup() -> None:
    now = dt.datetime.now(dt.UTC)
    said = {"task": BAD, "queue": BAD, "kwargs": {BAD: BAD}, "worker": None, "created_by": BAD}
    make_failed(now, tenant=BAD, progress_message=BAD, progress_current=1, **said)
    put(now, tenant=BAD, progress_message=BAD, subject_type="app.note", subject_id=BAD, **said)
    FailureGroup.objects.update(task=BAD, message=BAD, error_type=BAD, note=BAD)
    TenantSetting.objects.pause([BAD], now, by=BAD, reason=BAD)
    QueueSetting.objects.pause([BAD], now, by=BAD, reason=BAD)
    AuditEntry.objects.create(at=now, who=BAD, verb="retry", kind="job", target=BAD, reason=BAD)
    tokens.create(Actor.system(BAD), BAD, scopes=["read"])
    Worker.objects.create(
        id=Job.objects.visible_to(None).values_list("id", flat=True)[0], name=BAD, host=BAD, pid=1, queues=[BAD],
        slots=1, started_at=now, heartbeat_at=now,
    )  # fmt: skip
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    seen = [each for each in Walk(browser, under="admin/taskyard/", most=3).go().seen if each.status == 200]
    assert not [each.address for each in seen if "<img src=x" in each.text]
    for page in ("job", "failuregroup", "queuesetting", "worker", "auditentry", "tenantsetting", "apitoken"):
        assert [each for each in seen if each.address == f"/admin/taskyard/{page}/" and "onerror" in each.text], page


def test_pages_are_shown_in_no_frame_where_the_project_has_djangos_middleware() -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))
    from django.conf import settings

    middleware = [*settings.MIDDLEWARE, "django.middleware.clickjacking.XFrameOptionsMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        for page in ("job", "tenantsetting", "apitoken", "queuesetting"):
            assert browser.get(f"/admin/taskyard/{page}/").headers["X-Frame-Options"] == "DENY"
