"""`make test` runs things side by side: they do not meet, nothing of what they say is mixed up, none outlives it."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.servers import wait_until
from tools.tiers import DATABASES, Lanes, Report, Run, environment, main_environment

#: Says a line, waits until its partner has started, says another one.
TWO_LINES_AROUND_THE_OTHER = """
import sys
from pathlib import Path
from tests.servers import wait_until
name, mine, other = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print(f"{name} has begun", flush=True)
mine.touch()
wait_until(other.exists, 60, "the other one")
print(f"{name} has met the other", flush=True)
"""
#: Both lanes are taken by runs with a child that a SIGINT alone does not end; a third waits for its turn.
TWO_LONG_RUNS = """
import sys
from tools import tiers
tiers.LANES = 2
tiers.heed_signals()
with tiers.Lanes(tiers.Report()) as lanes:
    for pids in sys.argv[1:3]:
        command = f"sleep 600 & echo $$ $! > {pids}.part; mv {pids}.part {pids}; wait"
        lanes.add([tiers.Run(pids, ["sh", "-c", command], {}, 60)])
    lanes.add([tiers.Run("third", ["true"], {}, 60)])
    lanes.wait()
"""


def python(label: str, code: str, *words: object, budget: int = 60) -> Run:
    return Run(label, [sys.executable, "-c", code, *map(str, words)], environment(), budget)


def do(*runs: Run) -> Report:
    report = Report()
    with Lanes(report) as lanes:
        lanes.add(list(runs))
        lanes.wait()
    return report


def test_two_run_at_the_same_time_and_each_is_shown_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    report = do(
        python("one", TWO_LINES_AROUND_THE_OTHER, "one", one, two),
        python("two", TWO_LINES_AROUND_THE_OTHER, "two", two, one),
    )
    assert report.failures == []
    shown = capsys.readouterr().out.splitlines()
    for name in ("one", "two"):
        at = shown.index(f"---- {name}")
        assert shown[at + 1 : at + 3] == [f"{name} has begun", f"{name} has met the other"]


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mysql"])
def test_two_runs_on_one_server_have_databases_of_their_own(database: str) -> None:
    code = "from tests.settings import DATABASES; print(DATABASES['default']['TEST']['NAME'])"
    names = {
        subprocess.run([sys.executable, "-c", code], env=environment(database), capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(names) == 2


def test_what_is_the_same_with_each_database_runs_with_one_of_them() -> None:
    planned: list[Run] = []
    main_environment(Report(), SimpleNamespace(add=planned.extend))
    chosen = {run.label: run.command[-1] for run in planned if "tests/integration" in run.command}
    assert len(chosen) == len(DATABASES)
    assert [label for label, words in chosen.items() if "any_database" not in words] == ["integration on sqlite"]


def test_runs_write_bytecode_and_take_no_name_from_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "TASKYARD_TEST_RUN"):
        monkeypatch.setenv(name, "1")
        assert name not in environment()


def test_a_run_that_hangs_is_stopped_and_marked(capsys: pytest.CaptureFixture[str]) -> None:
    hanging = Run("hanging", ["sleep", "600"], environment(), budget=0)
    report = do(hanging)
    assert (report.failures, hanging.verdict) == (["hanging"], "stopped, it hung")
    assert "OVER BUDGET" in report.lines[-1]


def test_what_a_failed_installation_was_for_does_not_run() -> None:
    report = Report()
    with Lanes(report) as lanes:
        for command in ("true", "false"):
            lanes.install(Run(command, [command], {}, 60, then=[Run(f"after {command}", ["true"], {}, 60)]))
        lanes.wait()
    assert report.failures == ["false"]
    assert sorted(line.split("  ")[1] for line in report.lines) == ["after true", "false", "true"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    files = tmp_path / "one", tmp_path / "two"
    command = [sys.executable, "-c", TWO_LONG_RUNS, *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: process.poll() is not None or all(file.exists() for file in files), 60, "both run")
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert len(pids) == 4
    assert [pid for pid in pids if is_running(pid)] == []
    assert said.count(" interrupted ") == 3
    assert "interrupted before its turn" in said


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
