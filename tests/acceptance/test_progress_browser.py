"""A bar in a real browser, under a strict content security policy, while a real worker works."""

import uuid
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


#: Keeps the streams that the page opens, to be asked how they are.
STREAMS = """
    window.streams = [];
    window.EventSource = class extends EventSource {
        constructor(address) { super(address); window.streams.push(this); }
    };
"""
#: As htmx puts a part of another page here: what stood there before goes, and scripts are made anew so that they run.
SWAP = """async (address) => {
    const text = await (await fetch(address)).text();
    const brought = new DOMParser().parseFromString(text, "text/html");
    const place = document.createElement("div");
    place.append(brought.querySelector(".taskyard-progress"));
    for (const old of brought.querySelectorAll("script")) {
        const script = document.createElement("script");
        script.src = old.getAttribute("src");
        place.append(script);
    }
    document.getElementById("place")?.remove();
    place.id = "place";
    document.body.append(place);
}"""


def test_a_bar_that_is_added_later_is_followed_and_one_that_is_gone_is_not(walk: Any) -> None:
    job, folder, address = walk
    with browsers.chromium() as browser:
        from playwright.sync_api import expect

        def are_closed() -> list[bool]:
            found: list[bool] = page.evaluate("streams.map((stream) => stream.readyState === EventSource.CLOSED)")
            return found

        page = browser.new_page()
        complaints = complaints_of(page)
        page.add_init_script(STREAMS)
        # Of a job that is not there: nothing to follow.
        page.goto(address.replace(str(job.id), str(uuid.uuid4())))
        assert are_closed() == []
        says = page.locator("#place .taskyard-says")

        page.evaluate(SWAP, address)
        (folder / "0").touch()
        (folder / "1").touch()
        expect(says).to_contain_text("2 of 4 (50 %)")
        assert are_closed() == [False]

        page.evaluate(SWAP, address)
        (folder / "2").touch()
        expect(says).to_contain_text("3 of 4 (75 %)")
        assert are_closed() == [True, False]

        page.evaluate("document.getElementById('place').remove()")
        page.wait_for_function("streams.every((stream) => stream.readyState === EventSource.CLOSED)")
        (folder / "3").touch()
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
