"""A bar in a real browser, under a strict content security policy, while a real worker works."""

from pathlib import Path
from typing import Any

import pytest

from tests import browsers
from tests.app import tasks
from tests.workers import Project, wait_for_state


@pytest.fixture
def walk(project: Project, live_server: Any, tmp_path: Path) -> Any:
    """A running job of four steps, the folder that lets it go on, and its page."""
    browsers.require()
    project.start_worker("-c", "1")
    folder = tmp_path / "steps"
    folder.mkdir()
    job = tasks.walk.enqueue(folder=str(folder), steps=4)
    return job, folder, f"{live_server.url}/follow/{job.id}/"


def test_a_bar_moves_without_a_reload_by_events_or_by_looks_and_without_javascript_with_one(walk: Any) -> None:
    job, folder, address = walk
    with browsers.chromium() as browser:
        from playwright.sync_api import expect

        def step(number: int) -> None:
            (folder / str(number)).touch()

        page, looking = browser.new_page(), browser.new_page()
        complaints = complaints_of(page)
        # What the server answers where there is no room for a stream.
        looking.route("**/events/**", lambda route: route.fulfill(status=429))
        plain = browser.new_context(java_script_enabled=False).new_page()
        for each in (page, looking, plain):
            each.goto(address)
        page.evaluate("document.getElementById('here').dataset.still = 'here'")

        step(0)
        step(1)
        says = page.locator(".taskyard-says")
        expect(says).to_contain_text("2 of 4 (50 %)")
        expect(page.get_by_role("progressbar", name="Import")).to_have_attribute("value", "50")
        expect(page.locator(".taskyard-words")).to_have_text("running")
        expect(page.locator(".taskyard-news")).to_contain_text("Import: running")
        expect(page.get_by_role("link", name="Look again")).to_be_hidden()
        expect(looking.locator(".taskyard-says")).to_contain_text("2 of 4 (50 %)")
        plain.get_by_role("link", name="Look again").click()
        expect(plain.locator(".taskyard-says")).to_contain_text("2 of 4 (50 %)")
        expect(plain.get_by_role("progressbar", name="Import")).to_have_attribute("value", "50.00")

        step(2)
        step(3)
        for each in (page, looking):
            expect(each.locator(".taskyard-words")).to_have_text("done")
        expect(says).to_contain_text("4 of 4 (100 %)")
        assert page.evaluate("document.getElementById('here').dataset.still") == "here"
        assert complaints == []
    wait_for_state(job.id, "succeeded")


def complaints_of(page: Any) -> list[str]:
    """What the browser complains of from now on; not of the icon, for which it asks by itself."""
    found: list[str] = []

    def note(said: Any) -> None:
        text = f"{said.text} {said.location}"
        if said.type == "error" and "favicon" not in text:
            found.append(text)

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
