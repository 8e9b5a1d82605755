"""The checker of job histories: a clean one passes, each planted fault is found and nothing else."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from taskyard.testing.checker import Report, Row, check
from taskyard.testing.history import History, Line, read

HOST = "here"


class Tale:
    """Lines and rows of jobs that all went well; a test then spoils one of them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.rows: dict[str, Row] = {}
        self.tokens = itertools.count(1)

    def say(self, what: str, at: float = 0.0, **values: Any) -> None:
        own = {name: values.pop(name) for name in ("pid", "job", "attempt", "token") if name in values}
        self.lines.append(Line(what, at, own.pop("pid", 1), HOST, **own, more=values))

    def run(self, job: str, start: float, end: float | None, **about: Any) -> int:
        """One attempt; no end: its process died."""
        token = about.get("token") or next(self.tokens)
        who = {"job": job, "attempt": about.get("attempt", 1), "token": token, "pid": about.get("pid", 10)}
        unique = {"unique": about["unique"]} if "unique" in about else {}
        self.say("start", start, **who, task="t", **unique)
        if end is not None:
            self.say("end", end, **who, how=about.get("how", "returned"))
        return token

    def job(self, job: str, *, state: str = "succeeded", token: int | None = None, **about: Any) -> None:
        self.say("intended", jobs=[job])
        self.say("committed", jobs=[job])
        attempt = about.pop("attempt", 1)
        bad = attempt if state != "succeeded" else attempt - 1
        recorded = about.pop("recorded", tuple(range(1, bad + 1)))
        self.rows[job] = Row(job, "t", state, attempt, token, recorded=recorded, root=job, **about)

    def spoil(self, job: str, **values: Any) -> None:
        self.rows[job] = dataclasses.replace(self.rows[job], **values)

    def check(self, **options: Any) -> Report:
        return check(self.lines, self.rows.values(), **options)


@pytest.fixture
def tale() -> Tale:
    tale = Tale()
    tale.job("plain", token=tale.run("plain", 1, 2))
    # Retried, then lost with its process, then done elsewhere.
    tale.run("tried", 1, 2, how="ValueError", pid=11)
    tale.run("tried", 3, None, attempt=2, pid=11)
    tale.say("killed", 4, pids=[11])
    tale.job("tried", attempt=3, token=tale.run("tried", 5, 6, attempt=3, pid=12))
    # Killed between its claim and its body: the row counts an attempt that the history does not know.
    tale.job("unseen", attempt=2, token=tale.run("unseen", 3, 4, attempt=2))
    tale.say("rolled back", jobs=["undone"])
    tale.job("given-up", state="failed", token=tale.run("given-up", 1, 2, how="ValueError"))
    tale.job("cancelled", state="cancelled", attempt=0)
    tale.say("cancelled", 5, job="cancelled")
    return tale


def test_a_clean_history_passes(tale: Tale) -> None:
    report = tale.check()
    assert (report.problems(), report.is_clean) == ({}, True)
    assert (report.jobs, report.attempts, report.fenced_overlaps) == (5, 6, [])


def assert_only(report: Report, problem: str, *jobs: str) -> None:
    assert report.problems() == {problem: list(jobs)}
    assert not report.is_clean


def test_a_committed_job_that_is_not_in_the_table_is_lost(tale: Tale) -> None:
    del tale.rows["plain"]
    assert_only(tale.check(), "lost", "plain")


def test_a_job_that_never_ends_is_found(tale: Tale) -> None:
    for state in ("pending", "queued", "running", "waiting", "retrying"):
        tale.spoil("unseen", state=state)
        assert_only(tale.check(), "unfinished", "unseen")


def test_a_job_of_a_rolled_back_transaction_is_a_phantom_in_the_table_and_in_the_history(tale: Tale) -> None:
    tale.run("undone", 2, 3)
    assert_only(tale.check(), "phantom", "undone")


def test_a_row_that_nobody_wrote_is_a_phantom(tale: Tale) -> None:
    tale.rows["strange"] = Row("strange", "t", "cancelled", 0)
    assert_only(tale.check(), "phantom", "strange")
    tale.spoil("strange", root="plain")
    assert tale.check().is_clean


def test_a_commit_of_which_nobody_knows_may_go_either_way(tale: Tale) -> None:
    tale.say("intended", jobs=["perhaps"])
    assert tale.check().is_clean
    tale.rows["perhaps"] = Row("perhaps", "t", "succeeded", 1, tale.run("perhaps", 1, 2))
    assert tale.check().is_clean


def test_a_write_outside_of_a_transaction_that_failed_may_go_either_way(tale: Tale) -> None:
    tale.rows["id-5"] = Row("id-5", "t", "succeeded", 1, tale.run("id-5", 1, 2))
    tale.say("uncertain", since="id-2", until="id-4")
    assert_only(tale.check(), "phantom", "id-5")
    tale.say("uncertain", since="id-4", until="id-6")
    assert tale.check().is_clean


def test_two_attempts_at_once_overlap(tale: Tale) -> None:
    tale.run("twice", 1, 5, pid=11)
    tale.job("twice", attempt=2, token=tale.run("twice", 3, 6, attempt=2, pid=12))
    assert_only(tale.check(), "overlaps", "twice")


def test_an_attempt_that_outlives_a_later_short_one_overlaps_with_the_one_after_it(tale: Tale) -> None:
    tale.run("thrice", 1, 9, pid=11)
    tale.run("thrice", 2, 3, attempt=2, pid=12)
    tale.say("froze", 1.5, pids=[11])
    tale.say("thawed", 1.8, pids=[11])
    tale.job("thrice", attempt=3, token=tale.run("thrice", 5, 6, attempt=3, pid=13))
    report = tale.check()
    assert (report.problems(), report.fenced_overlaps) == ({}, ["thrice"])


def test_an_attempt_whose_process_went_on_after_the_next_one_started_overlaps(tale: Tale) -> None:
    tale.run("orphan", 1, None, pid=21)
    tale.say("killed", 8, pids=[21])
    tale.job("orphan", attempt=2, token=tale.run("orphan", 5, 6, attempt=2, pid=22))
    assert_only(tale.check(), "overlaps", "orphan")


def test_an_overlap_with_a_frozen_process_is_counted_apart(tale: Tale) -> None:
    tale.run("frozen", 1, 20, pid=21, how="JobFenced")
    tale.say("froze", 2, pids=[20, 21])
    tale.say("thawed", 19, pids=[20, 21])
    tale.job("frozen", attempt=2, token=tale.run("frozen", 9, 12, attempt=2, pid=22))
    report = tale.check()
    assert (report.problems(), report.fenced_overlaps) == ({}, ["frozen"])


@pytest.mark.parametrize("freeze", [(30.0, 31.0, 21), (0.1, 0.5, 21), (2.0, 19.0, 22)])
def test_a_freeze_at_another_time_or_of_another_process_excuses_nothing(
    tale: Tale, freeze: tuple[float, float, int]
) -> None:
    since, until, pid = freeze
    tale.run("overlap", 1, 20, pid=21)
    tale.say("froze", since, pids=[pid])
    tale.say("thawed", until, pids=[pid])
    tale.job("overlap", attempt=2, token=tale.run("overlap", 9, 12, attempt=2, pid=22))
    assert_only(tale.check(), "overlaps", "overlap")


def test_a_claim_that_a_crash_of_the_database_forgot_is_made_again(tale: Tale) -> None:
    tale.run("forgotten", 10.0, 14.0, pid=21)
    tale.job("forgotten", token=tale.run("forgotten", 13.5, 15, pid=22))
    assert set(tale.check().problems()) == {"overlaps", "wrong_count"}
    tale.say("database crashed", 10.5, pids=[])
    report = tale.check()
    assert (report.problems(), report.fenced_overlaps) == ({}, ["forgotten"])


def test_a_success_that_the_history_does_not_know_is_a_wrong_state(tale: Tale) -> None:
    tale.spoil("plain", token=999)
    assert_only(tale.check(), "wrong_state", "plain")
    assert tale.check(unrecorded=["t"]).is_clean


def test_a_success_of_an_attempt_that_raised_or_never_came_to_its_end_is_a_wrong_state(tale: Tale) -> None:
    tale.spoil("given-up", state="succeeded", recorded=())
    assert_only(tale.check(), "wrong_state", "given-up")


def test_a_job_that_ends_as_it_must_not_is_a_wrong_state(tale: Tale) -> None:
    tale.say("may end", job="given-up", states=["failed", "cancelled"])
    assert tale.check().is_clean
    tale.say("may end", job="given-up", states=["succeeded"])
    assert_only(tale.check(), "wrong_state", "given-up")
    tale.spoil("given-up", reason="poison")
    report = tale.check()
    assert (report.problems(), report.poisoned) == ({}, ["given-up"])


@pytest.mark.parametrize(
    "wrong", [{"attempt": 2}, {"attempt": 4}, {"recorded": (1,)}, {"recorded": (1, 2, 2)}, {"recorded": (1, 2, 3)}]
)
def test_attempts_that_do_not_agree_with_the_row_or_its_record_are_a_wrong_count(
    tale: Tale, wrong: dict[str, Any]
) -> None:
    tale.spoil("tried", **wrong)
    assert_only(tale.check(), "wrong_count", "tried")


def test_one_attempt_that_started_twice_is_a_wrong_count(tale: Tale) -> None:
    tale.run("plain", 5, 6)
    assert_only(tale.check(), "wrong_count", "plain")


def test_a_job_that_ran_though_its_row_knows_of_no_attempt_is_a_wrong_count(tale: Tale) -> None:
    tale.run("cancelled", 3, 4)
    assert_only(tale.check(), "wrong_count", "cancelled")


def test_an_attempt_that_handed_over_leaves_no_record(tale: Tale) -> None:
    tale.say("handed over", job="replaced", attempt=1)
    tale.run("replaced", 1, 2, how="Ignore")
    tale.job("replaced", attempt=2, token=tale.run("replaced", 3, 4, attempt=2), recorded=())
    assert tale.check().is_clean


def test_two_jobs_of_one_key_that_run_at_once_break_it(tale: Tale) -> None:
    tale.job("first", token=tale.run("first", 1, 4, pid=21, unique="k"))
    tale.job("second", token=tale.run("second", 3, 5, pid=22, unique="k"))
    tale.job("other", token=tale.run("other", 3, 5, pid=23, unique="another"))
    assert_only(tale.check(), "unique_broken", "second")


def test_a_job_that_runs_between_the_attempts_of_another_one_of_its_key_breaks_it(tale: Tale) -> None:
    tale.run("first", 1, 2, pid=21, unique="k", how="ValueError")
    tale.job("first", attempt=2, token=tale.run("first", 8, 9, pid=21, unique="k", attempt=2))
    tale.job("second", token=tale.run("second", 4, 5, pid=22, unique="k"))
    assert_only(tale.check(), "unique_broken", "second")
    # An operator brought it back: the key was free in between.
    tale.say("brought back", 7, job="first")
    assert tale.check().is_clean


def test_a_job_that_starts_after_its_cancel_is_found(tale: Tale) -> None:
    tale.spoil("cancelled", attempt=1, recorded=(1,))
    tale.run("cancelled", 6, 7, how="JobCancelled")
    assert_only(tale.check(), "started_after_cancel", "cancelled")
    tale.say("brought back", 5.5, job="cancelled")
    assert tale.check().is_clean


def test_a_cancelled_job_that_does_not_stay_cancelled_is_found(tale: Tale) -> None:
    tale.spoil("cancelled", state="failed")
    assert_only(tale.check(), "started_after_cancel", "cancelled")


def test_what_follows_must_happen_once_and_with_the_right_value(tale: Tale) -> None:
    tale.say("expects", key="link", after=["plain", "tried"], state="succeeded", value=2)
    assert_only(tale.check(), "wrong_follow_up", "tried")
    tale.job("linked", token=tale.run("linked", 7, 8))
    tale.say("effect", job="linked", key="link", value=2)
    # Another attempt of the same job is not another job.
    tale.say("effect", job="linked", key="link", value=2)
    assert tale.check().is_clean
    tale.job("again", token=tale.run("again", 7, 8))
    tale.say("effect", job="again", key="link", value=2)
    assert_only(tale.check(), "wrong_follow_up", "tried")


def test_what_follows_with_another_value_is_found(tale: Tale) -> None:
    tale.say("expects", key="chord", after=["plain"], state="succeeded", value=[1, 2])
    tale.job("body", token=tale.run("body", 7, 8))
    tale.say("effect", job="body", key="chord", value=[1])
    assert_only(tale.check(), "wrong_follow_up", "plain")


def test_what_is_not_to_follow_and_did_is_found(tale: Tale) -> None:
    tale.say("expects", key="errback", after=["plain"], state="failed", value=None)
    assert tale.check().is_clean
    tale.job("called", token=tale.run("called", 7, 8))
    tale.say("effect", job="called", key="errback", value=None)
    assert_only(tale.check(), "wrong_follow_up", "plain")


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.may_end("a", "failed", "cancelled")
    history.expects("key", after=["a", "b"], value=[1])
    history.killed([1, 2])
    first, second, third = read(tmp_path / "history")
    assert (first.what, first.job, first.more) == ("may end", "a", {"states": ["failed", "cancelled"]})
    assert second.more == {"key": "key", "after": ["a", "b"], "state": "succeeded", "value": [1]}
    assert (third.more, third.at >= second.at >= first.at) == ({"pids": [1, 2]}, True)
    assert list(read(tmp_path / "there is none")) == []
