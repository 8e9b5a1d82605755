"""The example of documents and answers, started by its one command and clicked in a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import psycopg
import pytest

from tests import browsers, servers
from tests.acceptance.test_progress_browser import complaints_of
from tests.servers import wait_until
from tests.servers.process import free_port

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "answers"
QUESTIONS = 24


def environment(**more: str) -> dict[str, str]:
    names = os.environ.keys() - {"DJANGO_SETTINGS_MODULE", "DATABASE_URL", "MEMCACHED", "BROKER_URL"}
    return {**{name: os.environ[name] for name in names}, **more}


class Show:
    """``show.py``, and what it says."""

    def __init__(self, folder: Path, server: str) -> None:
        self.log, port = folder / "show.log", free_port()
        self.address = f"http://127.0.0.1:{port}"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(EXAMPLE / "show.py"), "--port", str(port)], stdout=out, stderr=out,
                env=environment(DATABASE_URL=server, WORKER_TIMEOUT_SECONDS="2", SECONDS_PER_ANSWER="1"),
            )  # fmt: skip
        self.database = urlsplit(server)._replace(path=f"/taskyard_answers_{self.process.pid}").geturl()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self) -> None:
        wait_until(lambda: "is ready" in self.said() or self.process.poll() is not None, 60, "the example is ready")
        assert self.process.poll() is None, self.said()

    def pid_of(self, name: str) -> int:
        return int(re.findall(rf"^{name}: process (\d+)$", self.said(), re.MULTILINE)[-1])

    def rows(self, sql: str) -> list[Any]:
        """Of its database, without Django: the browser's loop is open."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Show]:
    browsers.require()
    started = Show(tmp_path, servers.require("postgres"))
    try:
        started.wait()
        yield started
    finally:
        started.process.terminate()
        ended = started.process.wait(60)
    assert ended == 0, started.said()


def test_a_batch_is_started_once_followed_survives_its_worker_and_is_cancelled(show: Show) -> None:
    assert ("NO MEMCACHED" in show.said()) == (shutil.which("memcached") is None)
    with browsers.chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        log_in(page, show.address)
        complaints = complaints_of(page)
        look_at_sources(page, show)
        # Where the second stage ends, the answers are there: of a questionnaire that is quick.
        page.goto(f"{show.address}/questionnaires/2/")
        page.get_by_role("button", name="Answer all").click()
        plain = browser.new_context(java_script_enabled=False, storage_state=context.storage_state()).new_page()
        start_kill_and_cancel(context.new_page(), plain, show)
        read_the_answers(page)
        # A refusal is no error of the page.
        assert [said for said in complaints if "400" not in said] == []


def log_in(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("ada")
    page.get_by_role("button", name="Log in").click()


def look_at_sources(page: Any, show: Show) -> None:
    """S6, S7: a sync says live what it did; a check goes on after the dead source among live ones."""
    from playwright.sync_api import expect

    page.goto(f"{show.address}/sources/")
    page.get_by_role("button", name="Sync moving").click()
    moving = page.get_by_role("region", name="moving")
    expect(moving.locator(".taskyard-says")).to_contain_text(re.compile(r"\(100 %\), \d+ created"))
    page.get_by_role("button", name="Sync manual").click()
    expect(page.get_by_role("region", name="manual").locator(".taskyard-words")).to_have_text("done")
    page.get_by_role("button", name="Check all").click()
    last = page.get_by_role("region", name="The last check of all")
    expect(last).to_contain_text("archive: ConnectionError: it does not answer")
    expect(last.locator(".taskyard-says")).to_contain_text("4 of 4 (100 %), 1 failed")
    expect(page.get_by_role("region", name="archive")).to_contain_text("Did not answer well")
    expect(page.get_by_role("region", name="decisions")).to_contain_text("Answered well")
    # S4: each document that came was embedded because it was saved.
    missing = "SELECT count(*) FROM documents_document WHERE id NOT IN (SELECT document_id FROM documents_embedding)"
    wait_until(lambda: show.rows(missing) == [(0,)], 30, "every document is embedded")


def start_kill_and_cancel(page: Any, plain: Any, show: Show) -> None:
    """S5, and what the issue asks: one job, "already running", a live bar, a worker killed, a cancel."""
    from playwright.sync_api import expect

    address = f"{show.address}/questionnaires/1/"
    page.goto(address)
    double_click(page, show)
    expect(page.get_by_role("status")).to_contain_text("its answers are already running")
    batch = "SELECT id::text FROM taskyard_batch WHERE subject_id = '1'"
    ((started,),) = show.rows(batch)
    assert show.rows(f"SELECT count(*) FROM taskyard_job WHERE batch = '{started}'") == [(QUESTIONS,)]

    page.evaluate("document.body.dataset.still = 'here'")
    bar = page.get_by_role("progressbar", name="Passages")
    moved(page, beyond=0)
    value = float(bar.get_attribute("value"))
    assert 0 < value < 100

    # The same page without JavaScript: a bar, a sentence, a link that looks again.
    plain.goto(address)
    expect(plain.get_by_role("progressbar", name="Passages")).to_be_visible()
    os.kill(show.pid_of("batch"), signal.SIGKILL)
    done = counted(page)
    moved(page, beyond=done + 3)
    assert "batch: ended with -9, and is started again" in show.said()
    lost = "SELECT count(*) FROM taskyard_attempt WHERE error_type = 'WorkerLost'"
    wait_until(lambda: show.rows(lost)[0][0] > 0, 30, "the jobs of the killed worker were given back")
    plain.get_by_role("link", name="Look again").click()
    assert counted(plain) > done
    assert page.evaluate("document.body.dataset.still") == "here"

    plain.get_by_role("button", name="Cancel").click()
    expect(plain.get_by_role("status")).to_contain_text("It is being cancelled")
    expect(page.locator(".taskyard-words")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    ended = f"""
        SELECT extract(epoch FROM max(j.finished_at) - b.cancel_requested_at),
               count(*) FILTER (WHERE j.finished_at IS NULL), count(*) FILTER (WHERE j.state = 'cancelled')
        FROM taskyard_job j JOIN taskyard_batch b ON b.id = j.batch WHERE b.id = '{started}' GROUP BY b.id
    """
    ((seconds, unfinished, cancelled),) = show.rows(ended)
    assert (seconds < 2, unfinished, cancelled > 0) == (True, 0, True), (seconds, unfinished, cancelled)
    # Nothing was forgotten, and nothing was done after the cancel.
    assert counted(page) == QUESTIONS


def double_click(page: Any, show: Show) -> None:
    """The first click's request is on its way when the second one comes: both wait for a row that is held here."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    place = page.get_by_role("button", name="Answer all").bounding_box()
    with psycopg.connect(show.database) as held:
        held.execute("SELECT 1 FROM answers_questionnaire WHERE id = 1 FOR UPDATE")
        for number in (1, 2):
            page.mouse.click(place["x"] + 5, place["y"] + 5)
            wait_until(lambda number=number: show.rows(waiting) == [(number,)], 30, f"click {number} has arrived")


def counted(page: Any) -> int:
    return int(re.match(r"(\d+) of", page.locator(".taskyard-says").first.inner_text().lstrip("· "))[1])


def moved(page: Any, *, beyond: int) -> None:
    from playwright.sync_api import expect

    more = "|".join(str(number) for number in range(beyond + 1, QUESTIONS + 1))
    expect(page.locator(".taskyard-says").first).to_have_text(re.compile(rf"^\W*({more}) of {QUESTIONS} "))


def read_the_answers(page: Any) -> None:
    from playwright.sync_api import expect

    expect(page.get_by_role("group", name="Answers").locator(".taskyard-words")).to_have_text("done")
    expect(page.locator(".questions > li").first).to_contain_text("[1]")
    page.get_by_text("Where from").first.click()
    page.locator(".questions details a").first.click()
    expect(page.get_by_text("Embedded.")).to_be_visible()


def test_the_tests_of_the_answers_pass_row_by_row(tmp_path: Path) -> None:
    """They run in a process, because the example has settings of its own."""
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", f"--basetemp={tmp_path / 'base'}"],
        cwd=EXAMPLE, capture_output=True, text=True, timeout=110, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = {
        case.get("classname", "").split(".")[1] for case in ElementTree.parse(report).iter("testcase") if not len(case)
    }
    # S1, S2, S9 and S10; S3 and S5; S4; S6 and S7; S8.
    assert passed == {f"test_{row}" for row in ("tasks", "answers", "documents", "sources", "settings")}
