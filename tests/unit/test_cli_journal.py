"""What the demo's journal proves."""

import json
from pathlib import Path

from taskyard.entrypoint.demo.journal import Note, is_open, judge, read

FIRST, SECOND = 100, 200


def note(what: str, at: float, *, job: str = "a", attempt: int = 1, group: int = FIRST) -> Note:
    return Note(job=job, attempt=attempt, what=what, group=group, at=at)


def test_an_attempt_that_returned_is_proof_that_the_job_ran() -> None:
    evidence = judge([note("start", 1), note("end", 2)], {})

    assert evidence.returned == {"a"}
    assert not evidence.overlapping
    assert evidence.cut_short == 0


def test_a_retry_after_an_error_is_no_overlap() -> None:
    notes = [note("start", 1), note("error", 2), note("start", 3, attempt=2), note("error", 4, attempt=2)]
    evidence = judge(notes, {})

    assert not evidence.overlapping
    assert not evidence.returned


def test_an_attempt_cut_short_by_a_kill_ended_with_it() -> None:
    notes = [note("start", 1), note("start", 30, attempt=2, group=SECOND), note("end", 31, attempt=2, group=SECOND)]

    assert not judge(notes, {FIRST: 5.0}).overlapping
    assert judge(notes, {FIRST: 5.0}).cut_short == 1


def test_a_second_attempt_before_the_kill_overlaps() -> None:
    notes = [note("start", 1), note("start", 4, attempt=2, group=SECOND), note("end", 6, attempt=2, group=SECOND)]

    assert judge(notes, {FIRST: 5.0}).overlapping == {"a"}


def test_an_attempt_that_neither_ended_nor_was_killed_overlaps_with_the_next() -> None:
    notes = [note("start", 1), note("start", 90, attempt=2, group=SECOND), note("end", 91, attempt=2, group=SECOND)]

    assert judge(notes, {}).overlapping == {"a"}


def test_the_same_attempt_run_twice_counts_even_one_after_the_other() -> None:
    notes = [note("start", 1), note("end", 2), note("start", 3), note("end", 4)]

    assert judge(notes, {}).overlapping == {"a"}


def test_attempts_of_different_jobs_may_overlap() -> None:
    notes = [note("start", 1), note("start", 2, job="b"), note("end", 3, job="b"), note("end", 4)]

    assert not judge(notes, {}).overlapping


def test_a_worker_is_at_work_while_it_has_a_start_without_an_end() -> None:
    assert is_open([note("start", 1)], FIRST)
    assert not is_open([note("start", 1)], SECOND)
    assert not is_open([note("start", 1), note("error", 2)], FIRST)


def test_a_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    line = json.dumps({"job": "a", "attempt": 1, "what": "start", "group": 1, "at": 1.0})
    (tmp_path / "journal").write_text(line + "\n" + line[:20])

    assert len(read(tmp_path / "journal")) == 1
    assert read(tmp_path / "nothing") == []
