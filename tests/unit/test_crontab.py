"""The text of crontab files: lines, what their commands ask for, and where a mistake stands."""

import datetime as dt

import pytest

from taskyard.schedules import Cron
from taskyard.schedules.sources.crontab.command import BrokenCommand, Command, understood
from taskyard.schedules.sources.crontab.output import HEAD, TAIL, Output
from taskyard.schedules.sources.crontab.parsing import Line, Problem, numbered, parse


def read(text: str) -> tuple[list[Line], list[Problem]]:
    return parse(text, file="crontab", timezone="Europe/Berlin")


def one(text: str) -> Line:
    [line], problems = read(text)
    assert problems == []
    return line


def wrong(text: str) -> tuple[int, int, str]:
    lines, [problem] = read(text)
    assert lines == []
    return problem.line, problem.column, problem.problem


def test_a_file_as_they_have_it_is_read_line_by_line() -> None:
    lines, problems = read(
        "# nightly work\n"
        "MAILTO=ops@example.com\r\n"
        "PATH = '/opt/bin:/usr/bin'\n"
        "\n"
        "30 2 * * *\tpython manage.py clearsessions >> /var/log/cron/sessions.log 2>&1\n"
        "   @daily cd /srv && ./backup.sh\n"
        "CRON_TZ=UTC\n"
        "*/5 8-18 * * MON-FRI  curl -fsS https://example.com/ping"
    )
    assert problems == []
    assert [(line.number, line.column, line.recurrence, line.name) for line in lines] == [
        (5, 12, Cron("30 2 * * *", timezone="Europe/Berlin"), "python-manage.py-clearsessions"),
        (6, 11, Cron("@daily", timezone="Europe/Berlin"), "cd-srv-.-backup.sh"),
        (8, 23, Cron("*/5 8-18 * * MON-FRI"), "curl-fsS-https-example.com-ping"),
    ]
    assert lines[2].environment == {"MAILTO": "ops@example.com", "PATH": "/opt/bin:/usr/bin"}


def test_what_is_assigned_holds_for_the_lines_below() -> None:
    first, second = read("* * * * * one\nSTAGE=live\n* * * * * two")[0]
    assert (first.environment, second.environment) == ({}, {"STAGE": "live"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python manage.py x", Command(("python", "manage.py", "x"))),
        ("tool --since '2 days ago' \"a b\"", Command(("tool", "--since", "2 days ago", "a b"))),
        ("tool x >> /var/log/x.log 2>&1", Command(("tool", "x"), log="/var/log/x.log")),
        ("tool x >>x.log  2>&1 ", Command(("tool", "x"), log="x.log")),
        ("tool > x.log 2>&1", Command(("tool",), log="x.log", is_log_emptied=True)),
        ("tool >> ${LOGS}/$X.log 2>&1", Command(("tool",), log="${LOGS}/$X.log")),
        ("cd /app && tool x >> x.log 2>&1", Command((), "cd /app && tool x", log="x.log")),
        ("cd /app", Command((), "cd /app")),
        ("A=1 tool", Command((), "A=1 tool")),
        ("one | two", Command((), "one | two")),
        ("tool *.txt", Command((), "tool *.txt")),
        # A shell's to do: only one of the outputs, a name that it makes, or something behind it.
        ("tool >> x.log", Command((), "tool >> x.log")),
        ("tool >> $(date).log 2>&1", Command((), "tool >> $(date).log 2>&1")),
        ("tool >> x.log 2>&1 &", Command((), "tool >> x.log 2>&1 &")),
        ("tool 2>> x.log 2>&1", Command((), "tool 2>> x.log 2>&1")),
        ("tool &>> x.log 2>&1", Command((), "tool &>> x.log 2>&1")),
        ("echo 'a >> b 2>&1'", Command((), "echo 'a >> b 2>&1'")),
        # cron's own: the first percent sign begins the input.
        (r"date +\%F", Command(("date", "+%F"))),
        (r"mail ops%Hello%100 \%", Command(("mail", "ops"), input="Hello\n100 %")),
    ],
)
def test_a_command_is_a_program_or_left_to_a_shell_and_its_redirect_is_ours(text: str, expected: Command) -> None:
    assert understood(text) == expected


@pytest.mark.parametrize(
    ("text", "at", "problem"),
    [
        ("", 0, "no command"),
        (">> x.log 2>&1", 0, "no command"),
        ("%input", 0, "no command"),
        ("tool 'a' \"b c", 9, "quote is not closed"),
        ("'' x", 0, "name of the program is empty"),
    ],
)
def test_a_command_that_cannot_be_run_says_where(text: str, at: int, problem: str) -> None:
    with pytest.raises(BrokenCommand, match=problem) as caught:
        understood(text)
    assert caught.value.at == at


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        ("0 24 * * * x", 1, 3, "hour '24': 24 is out of range"),
        ("\n\n0 0 * * FRIL x", 3, 9, "the last FRI of a month is written 5L"),
        ("0 0 31 2 * x", 1, 1, "never be due"),
        ("  @reboot x", 1, 3, "@reboot is no time"),
        ("* * * x", 1, 1, "4 fields"),
        ("words without sense", 1, 1, "3 fields"),
        ("* * * * *", 1, 10, "no command"),
        ("* * * * * tool 'x", 1, 16, "quote is not closed"),
        ("* * * * * --nmae=x tool", 1, 11, "no option --nmae"),
        ("* * * * * --name=x --time-limit tool", 1, 20, "takes a length of time"),
        ("* * * * * --name=a/b tool", 1, 11, "takes 1 to 100 letters"),
        ("* * * * * --overlap=perhaps tool", 1, 11, "takes one of allow, skip"),
        ("* * * * * --for-each-tenant=acme tool", 1, 11, "takes no value"),
        ("* * * * * --spread=5m tool", 1, 11, "goes with --for-each-tenant"),
        ("* * * * * --name=a --name=b tool", 1, 20, "is given twice"),
        ("* * * * * tool \x07", 1, 16, "no text"),
        ("* * * * * tool \ufffd", 1, 16, "UTF-8"),
        ("* * * * * " + 9_000 * "x", 1, 8_001, "at most 8,000"),
    ],
)
def test_a_line_that_cannot_be_read_says_where(text: str, line: int, column: int, problem: str) -> None:
    found = wrong(text)
    assert found[:2] == (line, column)
    assert problem in found[2]


def test_a_broken_line_stops_no_other() -> None:
    lines, [problem] = read("* * * * * one\n61 * * * * two\n* * * * * three")
    assert [line.name for line in lines] == ["one", "three"]
    assert str(problem).startswith("crontab:2:1: Cron '61 * * * *': minute '61'")


def test_below_a_zone_that_nobody_knows_nothing_runs_until_the_next_one() -> None:
    lines, problems = read("CRON_TZ=Europe/Berlim\n0 3 * * * one\nCRON_TZ=UTC\n0 3 * * * two")
    assert [line.name for line in lines] == ["two"]
    assert [(problem.line, problem.column) for problem in problems] == [(1, 9), (2, 1)]
    assert "did you mean 'Europe/Berlin'" in problems[0].problem
    assert "CRON_TZ in line 1" in problems[1].problem


def test_a_line_says_of_itself_what_a_schedule_takes() -> None:
    line = one(
        "0 3 * * * --name=nightly --for-each-tenant --spread=10m --time-limit=2h --overlap=allow --catch-up=none tool x"
    )
    options = line.options
    assert (line.name, line.text, options.for_each_tenant) == ("nightly", "tool x", True)
    assert (options.spread, options.time_limit) == (dt.timedelta(minutes=10), dt.timedelta(hours=2))
    assert (options.overlap, options.catch_up) == ("allow", "none")


def test_a_name_stays_when_a_line_moves_or_runs_at_other_times() -> None:
    before = one("0 3 * * * python manage.py x >> a.log 2>&1")
    after = one("\n\n5 4 * * *   python manage.py x")
    assert before.name == after.name == "python-manage.py-x"
    assert one(f"* * * * * {'long/' * 100}").name == ("long-" * 20)[:-1]
    assert one("* * * * * :").name == "command"


def test_the_same_name_again_gets_a_number() -> None:
    assert list(numbered(["a", "b", "A", "a-2", "a"])) == ["a", "b", "A-2", "a-2-2", "a-3"]


def test_of_much_output_the_beginning_and_the_end_are_kept() -> None:
    output = Output()
    for chunk in (b"begin", b"." * 1_000_000, b"-" * 10, b"end"):
        output.take(chunk)
    text = output.text()
    assert text.startswith("begin.")
    assert text.endswith("----------end")
    left_out = 1_000_018 - HEAD - TAIL
    assert f"[... {left_out:,} bytes left out ...]" in text
    assert len(text) < HEAD + TAIL + 50


def test_of_little_output_all_is_kept_whatever_it_is() -> None:
    output = Output()
    for number in range(HEAD + TAIL):
        output.take(bytes([number % 128]))
    assert output.text() == bytes(number % 128 for number in range(HEAD + TAIL)).decode()
    output = Output()
    output.take(b"\xff\x00")
    assert output.text() == "\ufffd\x00"
