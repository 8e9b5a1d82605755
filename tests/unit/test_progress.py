"""How far, how fast, how long yet; what a body says, and that saying it costs next to nothing."""

import datetime as dt
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard.errors import InvalidProgress
from taskyard.jobs.current import entered
from taskyard.jobs.progress import Speed, percent, rate, remaining_seconds
from taskyard.jobs.progress.callback import progress_callback
from taskyard.jobs.progress.canvas import steps_to_come
from taskyard.jobs.progress.reading import JobProgress, of_batch
from taskyard.jobs.progress.report import Report, progress_in
from taskyard.jobs.progress.words import number, per_time, roughly, says
from taskyard.jobs.running import RunningJob
from taskyard.jobs.scribe import scribe

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("current", "total", "expected"),
    [(0, 10, 0), (1, 3, 33.33), (2, 3, 66.66), (99_999, 100_000, 99.99), (10, 10, 100), (11, 10, 100), (5, None, None),
     (None, 10, None), (5, 0, None)],
)  # fmt: skip
def test_a_percentage_is_rounded_down_so_that_a_hundred_is_all(current: Any, total: Any, expected: Any) -> None:
    assert percent(current, total) == expected


def test_the_rest_takes_as_long_as_it_takes_at_this_rate() -> None:
    assert rate(50, 10 * SECOND) == 5
    assert rate(50, dt.timedelta(0)) is None
    assert remaining_seconds(50, 100, per_second=5) == 10
    assert remaining_seconds(120, 100, per_second=5) == 0
    assert remaining_seconds(50, None, per_second=5) is None


def test_a_speed_is_that_of_the_last_half_minute() -> None:
    speed = Speed()
    assert speed.look(NOW, 5_000) is None
    for second in range(1, 61):
        measured = speed.look(NOW + second * SECOND, 5_000 + second)
    assert measured == 1
    for second in range(61, 91):
        measured = speed.look(NOW + second * SECOND, 5_060 + 10 * (second - 60))
    assert measured == 10


def test_another_attempt_has_a_speed_of_its_own() -> None:
    speed = Speed()
    speed.look(NOW, 10, of=1)
    assert speed.look(NOW + SECOND, 20, of=1) == 10
    assert speed.look(NOW + 2 * SECOND, 0, of=2) is None
    assert speed.look(NOW + 3 * SECOND, 3, of=2) == 3


# what a body says


def test_what_readers_have_seen_does_not_go_back_but_for_another_total() -> None:
    report = Report()
    report.said = (7, 10, "seven")
    assert report.take(NOW) == {
        "progress_current": 7, "progress_total": 10, "progress_message": "seven", "progress_at": NOW
    }  # fmt: skip
    report.said = (3, 10, "late news")
    assert report.take(NOW)["progress_current"] == 7
    report.said = (3, 20, "the second part")
    assert report.take(NOW)["progress_current"] == 3
    assert report.take(NOW) == {}


def test_a_report_that_is_no_number_is_left_out_and_what_no_database_takes_is_replaced(caplog: Any) -> None:
    report = Report()
    report.said = ("many", None, "")
    assert report.take(NOW) == {}
    assert "current must be a finite number" in caplog.text
    report.said = (float("nan"), None, "")
    assert report.take(NOW) == {}
    report.said = (1, None, "nul \0 and \ud800" + "x" * 6000)
    message = report.take(NOW)["progress_message"]
    assert (message[:11], len(message)) == ("nul � and �", 4000)


def test_counts_go_on_from_those_of_the_attempt_before_only_where_they_are_given() -> None:
    before = json.dumps({"succeeded": 3, "failed": 1, "errors": [{"item": "4", "error": "even"}], "created": 2})
    report = Report(before)
    assert report.take(NOW) == {}
    with report.loop() as count:
        report.item_failed(5, ValueError("odd"))
        report.pay(count)
        count.succeeded += 1
    counts = json.loads(report.take(NOW)["counts"])
    assert (counts["succeeded"], counts["failed"], counts["created"], len(counts["errors"])) == (4, 2, 2, 2)


def test_a_failure_outside_of_a_loop_is_not_taken_off_the_next_one() -> None:
    report = Report()
    report.item_failed("alone", "error")
    with report.loop() as count:
        assert not report.owed
        count.succeeded += 1
    assert json.loads(report.take(NOW)["counts"])["succeeded"] == 1


@pytest.mark.parametrize(
    ("meta", "said"),
    [({"current": 3, "total": 10}, (3, 10, "")), ({"current": 3, "total": 10, "description": "d"}, (3, 10, "d")),
     ({"current": 3}, (3, None, "")), ({"current": "three"}, None), ({"done": 3}, None), (None, None)],
)  # fmt: skip
def test_what_update_state_says_of_progress_is_understood(meta: Any, said: Any) -> None:
    assert progress_in(meta) == said


# what saying costs


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningJob]:
    """A job that nobody writes."""
    job = RunningJob(uuid.uuid4(), "app.some", token=1, attempt=1)
    for name in ("watch", "flush"):
        monkeypatch.setattr(scribe(), name, lambda job: None)
    yield job


def cost_of(act: Callable[[], object]) -> tuple[int, list[str]]:
    """How many instructions of Python it takes, and what it calls."""
    called: list[str] = []
    instructions = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        instructions += event == "opcode"
        return trace

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event in ("call", "c_call"):
            called.append(frame.f_code.co_name if event == "call" else arg.__name__)

    before = sys.gettrace()
    sys.settrace(trace)
    act()
    sys.settrace(before)
    sys.setprofile(profile)
    act()
    sys.setprofile(None)
    return instructions, [name for name in called if name not in ("settrace", "setprofile")]


def test_saying_how_far_it_is_takes_few_instructions_and_calls_nothing(running: RunningJob) -> None:
    running.progress(0, 100)

    instructions, called = cost_of(lambda: running.progress(1, 100, "some"))

    assert called == ["<lambda>", "progress"]
    assert instructions < 50


def test_an_item_of_a_loop_takes_few_instructions_and_calls_nothing(running: RunningJob) -> None:
    items = running.track(range(1_000_000))
    next(items)

    instructions, called = cost_of(lambda: next(items))

    assert [name for name in called if name not in ("<lambda>", "next")] == ["track"]
    assert instructions < 70


def test_progress_counted_up_by_threads_is_that_of_all_of_them(running: RunningJob) -> None:
    with running.progressing(total=1_000) as bar, ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: bar.advance(), range(996)))
        bar.advance(3, "almost")
    said = running.take_dirty()
    assert (said["progress_current"], said["progress_total"], said["progress_message"]) == (999, 1_000, "almost")


def test_the_first_report_that_is_no_number_is_an_error(running: RunningJob) -> None:
    with pytest.raises(InvalidProgress, match="current must be a finite number, not below zero; it is 'ten'"):
        running.progress("ten")  # type: ignore[arg-type]


# services that call back


def test_a_service_reports_through_a_callback_in_several_ways(running: RunningJob) -> None:
    with entered(running):
        report = progress_callback()
    report(created=3, updated=1, skipped=0, processed=4, total=10)
    said = running.take_dirty()
    assert (said["progress_current"], said["progress_total"]) == (4, 10)
    assert json.loads(said["counts"]) == {"created": 3, "updated": 1, "skipped": 0}
    report(5, 10, "five")
    assert running.take_dirty()["progress_message"] == "five"
    # From a thread of the service's own, which does not know whose job it is.
    with ThreadPoolExecutor(1) as threads:
        threads.submit(report, {"created": 5, "skipped": 2, "errors": 1}).result()
    said = running.take_dirty()
    assert said["progress_current"] == 8
    assert json.loads(said["counts"]) == {"created": 5, "updated": 1, "skipped": 2, "failed": 1}


def test_without_a_job_a_callback_does_nothing_or_calls_another() -> None:
    progress_callback()(1, 2, created=1)
    told: list[Any] = []
    progress_callback(lambda *given, **named: told.append((given, named)))(1, 2, created=1)
    assert told == [((1, 2), {"created": 1})]


def test_a_service_that_reports_nonsense_is_told_so(running: RunningJob) -> None:
    with entered(running), pytest.raises(InvalidProgress, match="the count 'created'"):
        progress_callback()(created="some")


# what readers make of it


def test_a_job_is_told_in_words() -> None:
    job = JobProgress(
        uuid.uuid4(), "running", 2, 3, 420, 1000, "reading", {"succeeded": 418, "failed": 2}, NOW, NOW + 10 * SECOND
    )
    assert job.words == "running, attempt 2 of 3"
    assert says(job) == "420 of 1,000 (42 %), 42 a second, about 14 s left, 2 failed, reading"
    assert [per_time(rate) for rate in (1234.5, 1, 0.4, 0.01, 0.0001)] == [
        "1,234 a second", "1 a second", "24 a minute", "36 an hour", "8.6 a day"
    ]  # fmt: skip
    assert (number(3.25), number(1234.5), roughly(4), roughly(80), roughly(600), roughly(9_000), roughly(400_000)) == (
        "3.2", "1,234", "a few seconds", "about 80 s", "about 10 min", "about 2 h", "about 5 days"
    )  # fmt: skip


def test_an_attempt_that_goes_on_from_a_checkpoint_has_no_speed_until_one_was_measured() -> None:
    job = JobProgress(
        uuid.uuid4(), "running", 2, 3, 5_000, 10_000, started_at=NOW, updated_at=NOW + SECOND, is_from_zero=False
    )
    assert job.rate is None
    assert (job.remaining_seconds, job.percent) == (None, 50)


def test_a_batch_is_told_like_a_job() -> None:
    batch = SimpleNamespace(
        id=uuid.uuid4(), state="running", current=30, total=120, failed=2, started_at=NOW,
        updated_at=NOW + 10 * SECOND, finished_at=None, cancel_requested_at=None,
    )  # fmt: skip
    told = of_batch(batch)
    assert (told.percent, told.rate, told.remaining_seconds, told.is_final) == (25, 3, 30, False)
    batch.state, batch.current, batch.finished_at = "completed", 120, NOW + 60 * SECOND
    told = of_batch(batch)
    assert (told.percent, told.words, told.is_final, says(told)) == (100, "done", True, "120 of 120 (100 %), 2 failed")


def test_the_steps_that_a_message_carries_are_counted() -> None:
    def step(**more: Any) -> dict[str, Any]:
        return {"task": "app.add", "kwargs": {}, "options": {}, "subtask_type": None, **more}

    group = step(subtask_type="group", kwargs={"tasks": [step(), step()]})
    chord = step(subtask_type="chord", kwargs={"header": group, "body": step(options={"chain": [step()]})})
    members = [{"headers": {"group": "g"}, "embed": {"chord": step()}} for _ in range(3)]
    assert steps_to_come([{"embed": {"chain": [step(), chord]}}]) == 5
    assert steps_to_come(members) == 1
    assert steps_to_come([{}]) == 0
