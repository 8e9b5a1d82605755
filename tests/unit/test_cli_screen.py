"""What the terminal shows: lengths of time, tables, bars."""

import datetime as dt
import io

import pytest

from taskyard.entrypoint.screen import Screen, ago, bar, cut, duration
from taskyard.monitoring.words import counted

NOW = dt.datetime(2026, 11, 20, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0042, "4 ms"),
        (3.14, "3.1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (95, "1 min 35 s"),
        (7_500, "2 h 5 min"),
        (7_200, "2 h"),
        (100_000, "1 d 3 h"),
        (None, "-"),
    ],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_is_told_relative_to_now_on_either_side() -> None:
    assert ago(NOW - dt.timedelta(minutes=5), NOW) == "5 min ago"
    assert ago(NOW + dt.timedelta(hours=2), NOW) == "in 2 h"
    assert ago(None, NOW) == "-"


def test_numbers_stand_right_and_empty_cells_show_a_dash() -> None:
    lines = Screen(io.StringIO(), io.StringIO()).table_lines(("NAME", "COUNT"), [("a", 5), ("bb", 1_200), ("", None)])

    assert lines == ["NAME  COUNT", "a         5", "bb    1,200", "-         -"]


def test_without_a_terminal_nothing_is_coloured() -> None:
    assert Screen(io.StringIO(), io.StringIO()).paint("failed", "red") == "failed"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen(Terminal(), Terminal()).paint("x", "red") == "\033[31mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(Terminal(), Terminal()).paint("x", "red") == "x"


def test_a_row_is_cut_at_the_edge_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = Screen(Terminal(), Terminal()).table_lines(("A", "B"), [("x" * 10, "y" * 50)])

    assert [len(line.rstrip()) for line in lines] == [13, 50]
    assert lines[1].endswith("…")


def test_columns_that_do_not_fit_stand_on_a_further_line_of_their_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("NO_COLOR", "1")
    rows = [("first", 1_200, "x" * 30), ("second", 3, "short"), ("third", 4, "")]
    lines = Screen(Terminal(), Terminal()).table_lines(("NAME", "COUNT", "WHY"), rows)

    assert [line.rstrip() for line in lines] == [
        "NAME    COUNT", "    WHY",
        "first   1,200", "    " + "x" * 19 + "…",
        "second      3", "    short",
        "third       4",
    ]  # fmt: skip


def test_what_is_counted_agrees_with_its_number() -> None:
    numbers = [counted(number, "job waits", more="jobs wait") for number in (0, 1, 2, 1_200)]
    assert numbers == ["0 jobs wait", "1 job waits", "2 jobs wait", "1,200 jobs wait"]


def test_a_bar_is_as_wide_as_asked_and_never_overflows() -> None:
    assert bar(0.5, 4) == "██░░"
    assert bar(7.0, 4) == "████"
    assert bar(-1.0, 4) == "░░░░"
    assert len(bar(0.33, 10)) == 10


def test_cutting_keeps_short_text_and_marks_the_cut() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
