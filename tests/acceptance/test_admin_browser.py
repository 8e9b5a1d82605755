"""The admin in a real browser, under a strict content security policy (tests/app/policy.py)."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from taskyard.jobs.models import Job
from taskyard.models import TenantSetting
from taskyard.operations import Actor, tokens
from taskyard.schedules import Every
from taskyard.schedules.models import Schedule
from tests import browsers
from tests.app.shown import Onboarding
from tests.integration.saga_play import Act, Play
from tests.integration.shelf import put

ADD = "/admin/taskyard/schedule/add/"


@pytest.fixture
def cookies(live_server: Any) -> list[dict[str, Any]]:
    """Of somebody who may everything."""
    browsers.require()
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return [{"name": name, "value": morsel.value, "url": live_server.url} for name, morsel in client.cookies.items()]


def test_the_next_runs_follow_what_is_typed_and_without_javascript_a_button_shows_them(
    cookies: Any, live_server: Any
) -> None:
    with browsers.chromium() as browser:
        assert type_a_schedule(browser, cookies, page_at=live_server.url + ADD) == []
        look_without_javascript(browser, cookies, page_at=live_server.url + ADD)
    row = Schedule.objects.get()
    assert (row.name, row.recurrence) == ("typed", Every(dt.timedelta(minutes=15)).to_json())


def type_a_schedule(browser: Any, cookies: Any, *, page_at: str) -> list[str]:
    """What the browser complained of on the way."""
    from playwright.sync_api import expect

    context = browser.new_context()
    context.add_cookies(cookies)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(f"{said.text} {said.location}") if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(page_at)
    runs = page.locator(".taskyard-runs")
    expect(page.locator("#id_expression")).to_be_visible()
    expect(page.locator("#id_interval")).to_be_hidden()
    page.fill("#id_name", "typed")
    page.fill("#id_task", "app.nothing")
    page.fill("#id_timezone", "Europe/Berlin")
    page.locator("#id_expression").press_sequentially("30 2 * * *")
    expect(runs).to_contain_text("At 02:30 every day, Europe/Berlin")
    expect(runs.locator("tbody tr")).to_have_count(5)
    page.fill("#id_expression", "30 24 * * *")
    expect(runs).to_contain_text("Hour '24': 24 is out of range")
    page.get_by_label("at an interval").check()
    expect(page.locator("#id_expression")).to_be_hidden()
    page.fill("#id_interval", "15 min")
    expect(runs).to_contain_text("Every 15 minutes from 00:00 UTC")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("was added successfully")
    # For that one a browser asks by itself.
    return [said for said in complaints if "favicon" not in said]


def look_without_javascript(browser: Any, cookies: Any, *, page_at: str) -> None:
    from playwright.sync_api import expect

    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(page_at)
    page.fill("#id_expression", "0 8 * * MON")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".taskyard-runs")).to_contain_text("At 08:00 on Monday, UTC")


def test_failed_jobs_are_retried_on_a_narrow_dark_page_without_javascript(cookies: Any, live_server: Any) -> None:
    now = timezone.now()
    error = {"type": "builtins.ValueError", "message": "a long sentence about row 17 " * 5, "reason": ""}
    said = {"state": "failed", "finished_at": now, "attempt": 1, "error": error, "queue": "low", "tenant": "acme"}
    jobs = [put(now, **said) for _ in range(3)]
    tokens.create(Actor.system("boot"), "a program of the reporting department", scopes=["read", "retry_job"])
    TenantSetting.objects.pause(["acme", "a-tenant-with-a-name-that-is-almost-as-long-as-one-may-be"], now)
    with browsers.chromium() as browser:
        context = browser.new_context(
            java_script_enabled=False, viewport={"width": 320, "height": 640}, color_scheme="dark"
        )
        context.add_cookies(cookies)
        page = context.new_page()
        assert leaf_and_retry(page, live_server.url, jobs[0].id) == []
    assert {job.state for job in Job.objects.visible_to(None)} == {"pending", "failed"}
    assert Job.objects.failed().count() == 2


def test_a_saga_is_looked_at_and_signalled_on_a_narrow_page_under_a_strict_policy(
    cookies: Any, live_server: Any
) -> None:
    begun = timezone.now() - dt.timedelta(hours=1)
    acts = {"charge": [Act(2, raises=True, wait=5), Act()], "customer": [Act(result={"words": "long " * 99})]}
    run = Play(Onboarding, begun, acts, inputs={"name": "Ada"}).go_on()
    Play(Onboarding, begun, {"charge": [Act(raises=True)], "-customer": [Act(raises=True)]}).go_on()
    with browsers.chromium() as browser:
        context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
        context.add_cookies(cookies)
        page = context.new_page()
        complaints: list[str] = []
        page.on(
            "console", lambda said: complaints.append(f"{said.text} {said.location}") if said.type == "error" else None
        )
        look_and_signal(page, f"{live_server.url}/admin/taskyard/saga/", run.id)
    assert [said for said in complaints if "favicon" not in said] == []
    assert run.go_on().row.state == "completed"


def look_and_signal(page: Any, sagas_at: str, saga: Any) -> None:
    from playwright.sync_api import expect

    for path in ("", f"{saga}/change/", f"{saga}/signal/", f"{saga}/cancel/"):
        page.goto(sagas_at + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    page.goto(sagas_at)
    page.get_by_role("link", name="Show it").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.goto(f"{sagas_at}{saga}/change/")
    expect(page.get_by_role("img", name="Timeline")).to_be_visible()
    # The picture is wider than the screen, and scrolls in its own box.
    assert page.evaluate("(it => it.scrollWidth > it.clientWidth)(document.querySelector('.taskyard-bars'))")
    page.get_by_role("link", name="Signal", exact=True).click()
    page.get_by_label("Payload").fill('{"by": "zoe"}')
    page.get_by_role("button", name="Send it").click()
    expect(page.locator(".messagelist")).to_contain_text("It was told “approved”.")


def leaf_and_retry(page: Any, site: str, job: Any) -> list[str]:
    """Pages that were wider than the screen."""
    from playwright.sync_api import expect

    wide = []
    for path in ("job/", f"job/{job}/change/", "failuregroup/", "batch/", "queuesetting/", "worker/", "auditentry/",
                 "tenantsetting/", "tenantsetting/limit/acme/", "apitoken/"):  # fmt: skip
        page.goto(f"{site}/admin/taskyard/{path}")
        # Nor may a list hide columns behind a scroll bar of its own.
        lists = "[...document.querySelectorAll('.results, .taskyard-wide')].some(it => it.scrollWidth > it.clientWidth)"
        if page.evaluate("document.documentElement.scrollWidth") > 320 or page.evaluate(lists):
            wide.append(path)
    page.goto(f"{site}/admin/taskyard/job/?state=failed")
    page.locator(f'input[name="_selected_action"][value="{job}"]').check()
    page.locator('select[name="action"]').select_option("retry_chosen")
    page.locator('button[name="index"]').click()
    page.get_by_label("Reason").fill("the disk is back")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".messagelist")).to_contain_text("The job: brought back.")
    return wide
