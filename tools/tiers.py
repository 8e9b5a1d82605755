"""`make test`: the checks, every tier of tests with its time budget, and the other interpreters, three runs at a time.

Servers are found or started once, here, and handed to every run through the environment; whatever else a run needs
(database, virtual host, ports, files) it makes for itself, so that runs side by side never meet. What a run prints is
kept and shown whole when it ends. A tier whose folder does not exist is skipped out loud; a folder in which pytest
finds nothing is a failure. The last line sums everything up.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import servers  # noqa: E402 - the tests are a folder of this repository, not an installed package

#: Tests wait more than they compute: two leave two cores idle for a third of the time, more than three starve each
#: other's workers.
LANES = 3
#: What each tier may take beside another one, on two cores.
BUDGET_SECONDS = {
    "architecture": 90,
    "unit": 45,
    "integration": 420,
    "acceptance": 900,
    "compat": 120,
    "backend": 60,
    "tenancy": 120,
    "faults": 800,
    "simulation": 180,
    "soak": 120,
    "clouds": 60,
    "upgrade": 60,
}
CHECK_SECONDS = 60
INSTALL_SECONDS = 120
#: What `make test` may take as a whole.
TOTAL_SECONDS = 25 * 60
#: A run is stopped at this many times its budget: it hangs.
PATIENCE = 3
#: How often the log tells what is going on.
HEARTBEAT_SECONDS = 30
#: The tier that runs once per database, and the databases in the order of their importance, each with the marker that
#: it leaves out: SQLite, which is everywhere and costs the least, shows what is the same with all.
PER_DATABASE = "integration"
#: The tiers that need no server, and differ by the version of Django.
PER_DJANGO = ("unit", "backend")
DATABASES = {"postgres": "any_database", "sqlite": "verify", "mysql": "any_database"}
#: Servers that this command starts for itself where it can: they wait for no disk.
OWN_SERVERS = ("postgres", "mysql")
#: The tier that runs once per kind of tenancy, and the database of each.
PER_TENANCY = "tenancy"
TENANCIES = {"rows": "postgres", "schemas": "postgres", "databases": "sqlite"}
#: Interpreter -> Django, and the databases of the integration tests. The pair that the main environment already is does
#: not run twice. Between the oldest pair and the newest one, only how the two of them meet is new: no server sees that,
#: and nothing that is marked `any_django`.
MATRIX = {
    "3.11": ("5.2", ("postgres",)),
    "3.12": ("6.1", ()),
    "3.13": ("6.1", ("sqlite", "postgres")),
}
#: The tier that needs more than the others, the extra that has it, and the folder it is put into.
APART, APART_EXTRA, APART_FOLDER = "clouds", "test-clouds", ROOT / ".venv-clouds"

#: An environment of the matrix, made or renewed: interpreter, folder, the Django it is for.
INSTALL = """
"$1" -m venv "$2"
"$2/bin/python" -m pip --disable-pip-version-check install --quiet --editable '.[test]' "$3"
"$2/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --requirement tests/compat/packages.txt
touch "$2/.test"
"""

#: Libraries beside the main environment's: interpreter, folder, what is wanted.
INSTALL_APART = """
rm -rf "$2"
"$1" -m pip --disable-pip-version-check install --quiet --target "$2" $3
touch "$2/.test"
"""

CLOSING_LINE = re.compile(r"^=+ (.* in [\d.]+s.*) =+$")
PROGRESS = re.compile(r"\[ *(\d+%)\]$")
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

    def ended(self, run: "Run") -> None:
        """Show what it printed, and its line."""
        print(f"\n---- {run.label}", *run.output, sep="\n", flush=True)
        if run.has_failed:
            self.failures.append(run.label)
        self.count(run.closing)
        over = "  OVER BUDGET" if run.seconds > run.budget else ""
        self.say(
            f"  {run.label:<48} {run.verdict:<16} {run.seconds:6.1f} s of {run.budget} s{over}  {run.closing}".rstrip()
        )

    def summary(self, seconds: float) -> str:
        words = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")
        parts = [f"{self.counts[word]} {word}" for word in words if self.counts.get(word)]
        if self.failures:
            parts.append(f"FAILED: {' + '.join(self.failures)}")
        if self.skipped:
            parts.append(f"{len(self.skipped)} runs skipped, see above")
        over = "  OVER BUDGET" if seconds > TOTAL_SECONDS else ""
        return f"==== {'; '.join(parts) or 'nothing ran'} in {seconds:.0f} s of {TOTAL_SECONDS} s{over} ===="


@dataclass
class Run:
    """One command in a process group of its own, which ends as a whole when it takes too long or nobody wants it."""

    label: str
    command: list[str]
    env: dict[str, str]
    budget: int
    output: list[str] = field(default_factory=list)
    closing: str = ""
    code: int | None = None
    started_at: float | None = None
    seconds: float = 0.0
    timed_out: bool = False
    unwanted: threading.Event = field(default_factory=threading.Event)
    #: What it makes possible.
    then: list["Run"] = field(default_factory=list)

    def __call__(self) -> None:
        if self.unwanted.is_set():
            return
        self.started_at = time.monotonic()
        child = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(child,), daemon=True)
        reader.start()
        try:
            self._await(child)
        finally:
            # Not forever: a process the tests forgot may hold the pipe open.
            reader.join(5)
            self.seconds = time.monotonic() - self.started_at

    @property
    def is_running(self) -> bool:
        return self.started_at is not None and self.code is None

    @property
    def has_failed(self) -> bool:
        return self.code != 0

    @property
    def verdict(self) -> str:
        if self.timed_out:
            return "stopped, it hung"
        if self.code is None or self.unwanted.is_set():
            return "interrupted"
        return {0: "ok", 5: "no tests found"}.get(self.code, "FAILED")

    @property
    def progress(self) -> str:
        """How far it is, as pytest tells it."""
        found = (PROGRESS.search(line) for line in reversed(self.output.copy()))
        percent = next((match[1] for match in found if match), "")
        return f"{self.label} {time.monotonic() - (self.started_at or 0):.0f} s {percent}".rstrip()

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self.output.append(line.rstrip())
                match = CLOSING_LINE.match(line.strip())
                self.closing = match[1] if match else self.closing

    def _await(self, child: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + self.budget * PATIENCE
        while not self.unwanted.is_set() and time.monotonic() < deadline:
            try:
                self.code = child.wait(0.2)
                return
            except subprocess.TimeoutExpired:
                continue
        self.timed_out = not self.unwanted.is_set()
        self.code = self._end(child)

    def _end(self, child: subprocess.Popen[str]) -> int:
        # Interrupted, pytest tears its tests down: their workers and servers are in sessions of their own.
        os.killpg(child.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(45)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


class Lanes:
    """Runs side by side, the longest first, and installations beside them, one at a time."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._lanes = ThreadPoolExecutor(LANES)
        self._installer = ThreadPoolExecutor(1)
        self._pending: dict[Future[None], Run] = {}

    def __enter__(self) -> "Lanes":
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever still runs is ended, with its process group."""
        for run in self._pending.values():
            run.unwanted.set()
        for lane in (self._lanes, self._installer):
            lane.shutdown(cancel_futures=True)
        for run in self._pending.values():
            if run.started_at is None:
                self.report.skip(run.label, "interrupted before its turn")
            else:
                self.report.ended(run)

    def add(self, runs: list[Run]) -> None:
        for run in sorted(runs, key=lambda run: run.budget, reverse=True):
            self._pending[self._lanes.submit(run)] = run

    def install(self, run: Run) -> None:
        self._pending[self._installer.submit(run)] = run

    def wait(self) -> None:
        """Until everything has ended; meanwhile, a line now and then tells what is running."""
        while self._pending:
            done, _ = wait(self._pending, HEARTBEAT_SECONDS, FIRST_COMPLETED)
            for future in done:
                self._take(future)
            if not done:
                running = [run.progress for run in self._pending.values() if run.is_running]
                print(f"  ... {', '.join(running)}", flush=True)

    def _take(self, future: Future[None]) -> None:
        run = self._pending.pop(future)
        future.result()
        self.report.ended(run)
        if not run.has_failed:
            self.add(run.then)


def environment(database: str | None = None) -> dict[str, str]:
    """The servers that were found, and no name of a run: each makes one for itself, and a database of that name.

    Bytecode is written whatever the shell says: hundreds of processes would compile every module anew.
    """
    unwanted = ("TASKYARD_TEST_RUN", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, **servers.environment(), **({"TASKYARD_TEST_DB": database} if database else {})}


def pytest_runs(
    report: Report, tier: str, databases: tuple[str | None, ...] = (None,), python: str = sys.executable,
    cell: str = "", without: str = "verify",
) -> list[Run]:  # fmt: skip
    """A run per database, without what has a marker; what cannot run is said."""
    runs = []
    for database in databases:
        label = f"{tier}{f' on {database}' if database else ''}{f', {cell}' if cell else ''}"
        if not (ROOT / "tests" / tier).is_dir():
            report.skip(label, f"there is no tests/{tier} yet")
        elif database not in (None, "sqlite") and servers.url(database) is None:
            report.skip(label, servers.missing()[database])
        else:
            command = [python, "-m", "pytest", f"tests/{tier}", "-m", f"not verify and not {without}"]
            runs.append(Run(label, command, environment(database), BUDGET_SECONDS[tier]))
    return runs


def tenancy_runs(report: Report) -> list[Run]:
    """A run for each way of separating tenants, in a project that has some."""
    runs = []
    for kind, database in TENANCIES.items():
        for run in pytest_runs(report, PER_TENANCY, (database,)):
            run.label = f"{PER_TENANCY} by {kind} on {database}"
            run.command += ["--ds", "tests.tenancy.settings"]
            run.env["TASKYARD_TEST_TENANCY"] = kind
            runs.append(run)
    return runs


def main_environment(report: Report, lanes: Lanes) -> None:
    lanes.add([Run("check", [sys.executable, "tools/check.py"], environment(), CHECK_SECONDS)])
    runs = tenancy_runs(report)
    for tier in BUDGET_SECONDS.keys() - {PER_TENANCY, PER_DATABASE, APART}:
        runs += pytest_runs(report, tier)
    for database, without in DATABASES.items():
        runs += pytest_runs(report, PER_DATABASE, (database,), without=without)
    lanes.add(runs)


def apart(report: Report, lanes: Lanes) -> None:
    """The tier whose libraries would make every environment slow to install."""
    runs = pytest_runs(report, APART)
    for run in runs:
        run.env["PYTHONPATH"] = str(APART_FOLDER)
    stamp, project = APART_FOLDER / ".test", ROOT / "pyproject.toml"
    if stamp.exists() and stamp.stat().st_mtime > project.stat().st_mtime:
        lanes.add(runs)
        return
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["optional-dependencies"][APART_EXTRA]
    command = ["sh", "-ec", INSTALL_APART, "install", sys.executable, str(APART_FOLDER), " ".join(wanted)]
    lanes.install(Run(f"installing what {APART} needs", command, environment(), INSTALL_SECONDS, then=runs))


def matrix(report: Report, lanes: Lanes) -> None:
    import django

    here = (f"{sys.version_info.major}.{sys.version_info.minor}", ".".join(map(str, django.VERSION[:2])))
    for python_version, (django_version, databases) in MATRIX.items():
        cell = f"Python {python_version}, Django {django_version}"
        if (python_version, django_version) == here:
            report.say(f"  {cell:<48} is the main environment")
            continue
        found = subprocess.run(
            ["sh", "tools/find-python.sh", python_version], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if found.returncode:
            report.skip(cell, f"no Python {python_version} on this machine")
            continue
        folder = ROOT / f".venv-py{python_version.replace('.', '')}-django{django_version.replace('.', '')}"
        python = str(folder / "bin" / "python")
        runs = [run for tier in PER_DJANGO for run in pytest_runs(report, tier, ("sqlite",), python, cell)]
        runs += pytest_runs(report, PER_DATABASE, databases, python, cell, "any_django")
        stamp = folder / ".test"
        if stamp.exists() and stamp.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
            lanes.add(runs)
            continue
        command = ["sh", "-ec", INSTALL, "install", found.stdout.strip(), str(folder), f"Django=={django_version}.*"]
        lanes.install(Run(f"installing {cell}", command, environment(), INSTALL_SECONDS, then=runs))


def heed_signals() -> None:
    """Whoever ends us means the whole of it. A shell's background job ignores SIGINT, and would hand that down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def main() -> int:
    heed_signals()
    report = Report()
    started = time.monotonic()
    try:
        for kind in OWN_SERVERS:
            servers.start_own(kind)
        for kind in servers.KINDS:
            report.say(f"  server {kind:<41} {servers.describe(kind)}")
            if servers.url(kind) is None and servers.required():
                report.failures.append(f"server {kind} missing")
        with Lanes(report) as lanes:
            main_environment(report, lanes)
            apart(report, lanes)
            matrix(report, lanes)
            lanes.wait()
    except KeyboardInterrupt:
        report.failures.append("interrupted")
    finally:
        servers.stop_all()
        print("\n---- all runs", *report.lines, sep="\n", flush=True)
        print(report.summary(time.monotonic() - started), flush=True)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
