"""`make test`: the checks, then every tier of tests with its time budget, then the other interpreters.

Servers are found or started once, here, and handed to every run through the environment. A tier whose folder does not
exist is skipped out loud; a folder in which pytest finds nothing is a failure. The last line sums everything up.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import servers  # noqa: E402 - the tests are a folder of this repository, not an installed package

BUDGET_SECONDS = {
    "architecture": 90,
    "unit": 10,
    "integration": 120,
    "acceptance": 480,
    "faults": 330,
    "upgrade": 60,
}
#: A run is stopped at this many times its budget: it hangs.
PATIENCE = 3
#: The tier that runs once per database, and the databases in the order of their importance.
PER_DATABASE = "integration"
DATABASES = ("postgres", "sqlite", "mysql")
#: Interpreter -> Django. The pair that the main environment already is does not run twice.
MATRIX = {"3.11": "5.2", "3.12": "6.1", "3.13": "6.1"}
MATRIX_RUNS = (("unit", "sqlite"), ("integration", "sqlite"), ("integration", "postgres"))

CLOSING_LINE = re.compile(r"^=+ (.* in [\d.]+s.*) =+$")
COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)")


@dataclass
class Report:
    """What happened so far; `lines` is repeated at the end, where somebody reading a log looks first."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def count(self, closing: str) -> None:
        for number, word in COUNT.findall(closing):
            word = "error" if word.startswith("error") else word
            self.counts[word] = self.counts.get(word, 0) + int(number)

    def say(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)

    def skip(self, what: str, reason: str) -> None:
        self.skipped.append(what)
        self.say(f"  {what:<48} SKIPPED: {reason}")

    def summary(self, seconds: float) -> str:
        words = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")
        parts = [f"{self.counts[word]} {word}" for word in words if self.counts.get(word)]
        if self.failures:
            parts.append(f"FAILED: {' + '.join(self.failures)}")
        if self.skipped:
            parts.append(f"{len(self.skipped)} runs skipped, see above")
        return f"==== {'; '.join(parts) or 'nothing ran'} in {seconds:.0f}s ===="


@dataclass
class Run:
    """One command with its output passed through, ended with its whole group when it takes too long."""

    command: list[str]
    env: dict[str, str]
    patience_seconds: float
    closing: str = ""
    timed_out: bool = False

    def __call__(self) -> int:
        child = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        reader = threading.Thread(target=self._pass_through, args=(child,), daemon=True)
        reader.start()
        try:
            code = child.wait(self.patience_seconds)
        except BaseException as error:
            self.timed_out = isinstance(error, subprocess.TimeoutExpired)
            code = self._end(child)
            if not self.timed_out:
                raise
        # Not forever: a process the tests forgot may hold the pipe open.
        reader.join(5)
        return code

    def _pass_through(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            match = CLOSING_LINE.match(line.strip())
            self.closing = match[1] if match else self.closing

    def _end(self, child: subprocess.Popen[str]) -> int:
        for number in (signal.SIGINT, signal.SIGKILL):
            os.killpg(child.pid, number)
            try:
                return child.wait(20)
            except subprocess.TimeoutExpired:
                continue
        return child.wait()


def pytest_run(report: Report, python: str, tier: str, label: str, database: str | None = None) -> None:
    if not (ROOT / "tests" / tier).is_dir():
        report.skip(label, f"there is no tests/{tier} yet")
        return
    if database not in (None, "sqlite") and servers.url(database) is None:
        report.skip(label, servers.missing()[database])
        return
    env = {**os.environ, **servers.environment(), **({"TASKYARD_TEST_DB": database} if database else {})}
    budget = BUDGET_SECONDS[tier]
    print(f"\n---- {label} (budget {budget} s)", flush=True)
    started = time.monotonic()
    run = Run([python, "-m", "pytest", f"tests/{tier}"], env, budget * PATIENCE)
    code = run()
    seconds = time.monotonic() - started
    report.count(run.closing)
    if code:
        report.failures.append(label)
    verdict = (
        "ok" if code == 0 else "no tests found" if code == 5 else "stopped, it hung" if run.timed_out else "FAILED"
    )
    over = "  OVER BUDGET" if seconds > budget else ""
    report.say(f"  {label:<48} {verdict:<16} {seconds:6.1f} s of {budget} s{over}  {run.closing}")


def check(report: Report) -> None:
    print("---- check", flush=True)
    started = time.monotonic()
    code = subprocess.run([sys.executable, "tools/check.py"], cwd=ROOT, check=False).returncode
    if code:
        report.failures.append("check")
    report.say(f"  {'check':<48} {'FAILED' if code else 'ok':<16} {time.monotonic() - started:6.1f} s")


def main_environment(report: Report) -> None:
    for tier in BUDGET_SECONDS:
        if tier != PER_DATABASE:
            pytest_run(report, sys.executable, tier, tier)
            continue
        for database in DATABASES:
            pytest_run(report, sys.executable, tier, f"{tier} on {database}", database)


def matrix(report: Report) -> None:
    import django

    here = (f"{sys.version_info.major}.{sys.version_info.minor}", ".".join(map(str, django.VERSION[:2])))
    for python_version, django_version in MATRIX.items():
        cell = f"Python {python_version}, Django {django_version}"
        if (python_version, django_version) == here:
            report.say(f"  {cell:<48} is the main environment, already run")
            continue
        python = environment_for(report, python_version, django_version, cell)
        for tier, database in MATRIX_RUNS if python else ():
            pytest_run(report, python, tier, f"{tier} on {database}, {cell}", database)


def environment_for(report: Report, python_version: str, django_version: str, cell: str) -> str | None:
    """The interpreter of that cell's own environment; made or renewed when pyproject.toml is newer than its stamp."""
    found = subprocess.run(
        ["sh", "tools/find-python.sh", python_version], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode:
        report.skip(cell, f"no Python {python_version} on this machine")
        return None
    folder = ROOT / f".venv-py{python_version.replace('.', '')}-django{django_version.replace('.', '')}"
    python, stamp = folder / "bin" / "python", folder / ".test"
    if stamp.exists() and stamp.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
        return str(python)
    print(f"\n---- installing {cell}", flush=True)
    install = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--editable", ".[test]"]
    for command in (
        [found.stdout.strip(), "-m", "venv", str(folder)],
        [str(python), *install, f"Django=={django_version}.*"],
    ):
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            report.failures.append(f"installing {cell}")
            report.say(f"  {cell:<48} FAILED to install")
            return None
    stamp.touch()
    return str(python)


def main() -> int:
    report = Report()
    started = time.monotonic()
    check(report)
    try:
        for kind in servers.KINDS:
            report.say(f"  server {kind:<41} {servers.describe(kind)}")
            if servers.url(kind) is None and servers.required():
                report.failures.append(f"server {kind} missing")
        main_environment(report)
        matrix(report)
    finally:
        servers.stop_all()
        print("\n---- all runs", *report.lines, sep="\n", flush=True)
        print(report.summary(time.monotonic() - started), flush=True)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
