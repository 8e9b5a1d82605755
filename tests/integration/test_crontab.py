"""Crontab files become schedules, follow the list of active plugins, and their lines run as jobs."""

import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from taskyard.errors import ConfigurationError
from taskyard.execution import steering
from taskyard.jobs.models import Job
from taskyard.monitoring.diagnosis import schedules as diagnosis
from taskyard.schedules import Cron, Every
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.scheduler import Scheduler
from taskyard.schedules.sources import reconcile
from taskyard.schedules.sources.crontab.files import current
from taskyard.schedules.sources.crontab.process import Call, TookTooLong, run
from taskyard.schedules.sources.crontab.run import run_command
from tests.app.tasks import nothing
from tests.servers import wait_until

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


class Files:
    """A project's crontab files, and its list of active plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.active: Any = []

    def write(self, text: str, name: str = "crontab") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def plugin(self, name: str, text: str) -> None:
        self.write(text, f"plugins/{name}/crontab")

    def plugins(self) -> Any:
        if isinstance(self.active, Exception):
            raise self.active
        return self.active

    def log(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    configured = {
        "CRONTABS": ["crontab", Path("plugins/{plugin}/crontab")],
        "CRONTAB_PLUGINS": made.plugins,
        "CRONTAB_LOGS": tmp_path / "logs",
    }
    with override_settings(TASKYARD=configured, BASE_DIR=tmp_path):
        made.write("")
        yield made


@pytest.fixture
def eager() -> Iterator[None]:
    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        yield


def names() -> list[str]:
    return sorted(Schedule.objects.filter(origin="crontab").values_list("name", flat=True))


def fired() -> list[str]:
    return sorted(Occurrence.objects.filter(decision="fired").values_list("schedule__name", flat=True))


def command(*words: str) -> tuple[int, str]:
    out, code = io.StringIO(), 0
    try:
        call_command("taskyard", *words, stdout=out)
    except CommandError as end:
        code = end.returncode
    return code, out.getvalue()


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_lines_become_schedules_and_follow_the_file(files: Files) -> None:
    files.write("CRON_TZ=Europe/Berlin\n0 3 * * * tool one >> x.log 2>&1\n0 4 * * * two\n")
    scheduler = Scheduler()
    scheduler.run_once(NOW)
    assert names() == ["crontab/tool-one", "crontab/two"]
    row = Schedule.objects.get(name="crontab/tool-one")
    assert (row.task, row.queue, row.kwargs) == (
        "taskyard.run_command", "crontab", {"line": "crontab/tool-one", "plugin": ""},
    )  # fmt: skip
    assert (row.description, row.next_at) == (
        "tool one >> x.log 2>&1", dt.datetime(2026, 5, 5, 1, tzinfo=dt.UTC),
    )  # fmt: skip
    files.write("# moved\nCRON_TZ=Europe/Berlin\n\n0 5 * * * tool one >> x.log 2>&1\n")
    scheduler.run_once(NOW)
    again = Schedule.objects.get(origin="crontab")
    assert (again.pk, again.version, again.recurrence["expression"]) == (row.pk, 2, "0 5 * * *")


@pytest.mark.django_db
def test_a_file_that_does_not_change_is_not_read_again_and_writes_nothing(files: Files) -> None:
    files.write("* * * * * one")
    Scheduler().run_once(NOW)
    first = current()
    Scheduler().run_once(NOW)
    assert current()[1] is first[1]
    assert Schedule.objects.get().version == 1


@pytest.mark.django_db
def test_a_plugin_that_is_switched_off_runs_nothing_from_the_next_look_on(files: Files) -> None:
    for name in ("labels", "telex"):
        files.plugin(name, "* * * * * tick")
    files.active = ["labels", "telex", "without"]
    # Any of several schedulers, whichever looks first.
    one, two = Scheduler(), Scheduler()
    for scheduler in (one, two):
        scheduler.run_once(NOW)
    assert names() == ["labels/tick", "telex/tick"]
    assert one.run_once(NOW + MINUTE) == 2
    files.active = ["labels"]
    assert two.run_once(NOW + 2 * MINUTE) == 1
    assert (names(), one.run_once(NOW + 2 * MINUTE)) == (["labels/tick"], 0)
    files.active = ["labels", "telex"]
    one.run_once(NOW + 3 * MINUTE)
    assert names() == ["labels/tick", "telex/tick"]


@pytest.mark.django_db
def test_rows_of_other_origins_are_left_alone(files: Files) -> None:
    Schedule.objects.define(name="crontab/one", tenant="", recurrence=Every(MINUTE), task=nothing, now=NOW)
    Schedule.objects.define(name="theirs", tenant="", recurrence=Every(MINUTE), task=nothing, now=NOW)
    files.write("0 3 * * * one\n0 3 * * * two")
    Scheduler().run_once(NOW)
    assert names() == ["crontab/two"]
    files.write("")
    Scheduler().run_once(NOW)
    assert set(Schedule.objects.values_list("name", "task")) == {
        ("crontab/one", "app.nothing"), ("theirs", "app.nothing"),
    }  # fmt: skip


@pytest.mark.django_db
def test_a_row_that_somebody_adds_at_the_same_moment_is_left_as_it_is(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("0 3 * * * one\n0 3 * * * two")
    looks = iter((False, True))
    own_compare = reconcile.compare

    def compare(*args: Any, **said: Any) -> list[reconcile.Change]:
        """The second look is that of the transaction that writes."""
        changes = list(own_compare(*args, **said))
        if next(looks):
            Schedule.objects.define(name="crontab/one", tenant="", recurrence=Every(MINUTE), task=nothing, now=NOW)
        return changes

    monkeypatch.setattr(reconcile, "compare", compare)
    Scheduler().run_once(NOW)
    assert dict(Schedule.objects.values_list("name", "origin")) == {"crontab/one": "api", "crontab/two": "crontab"}


@pytest.mark.django_db
def test_lines_go_when_the_project_names_no_files_any_more(files: Files) -> None:
    files.write("0 3 * * * one")
    Scheduler().run_once(NOW)
    with override_settings(TASKYARD={}):
        Scheduler().run_once(NOW)
    assert names() == []


@pytest.mark.django_db
def test_whether_a_line_is_paused_is_not_the_files_to_say(files: Files) -> None:
    files.write("* * * * * one")
    scheduler = Scheduler()
    scheduler.run_once(NOW)
    Schedule.objects.get().disable()
    files.write("*/2 * * * * one")
    scheduler.run_once(NOW)
    row = Schedule.objects.get()
    assert (row.recurrence["expression"], row.enabled, row.next_at) == ("*/2 * * * *", False, None)


@pytest.mark.django_db
def test_a_list_of_plugins_that_cannot_be_asked_stops_no_other_schedule(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.plugin("labels", "* * * * * tick")
    files.active = ["labels"]
    scheduler = Scheduler()
    scheduler.run_once(NOW)
    Schedule.objects.define(name="other", tenant="", recurrence=Every(MINUTE), task=nothing, now=NOW)
    files.active = KeyError("no such table")
    for _ in range(2):
        scheduler.run_once(NOW + MINUTE)
    assert fired() == ["labels/tick", "other"]
    assert caplog.text.count("CRONTAB_PLUGINS raised KeyError") == 1
    files.active = []
    scheduler.run_once(NOW + MINUTE)
    assert names() == []


@pytest.mark.parametrize("listed", [["../etc"], [""], [3], [[]], "la/bels", 3])
def test_odd_names_of_plugins_are_refused(files: Files, listed: Any) -> None:
    files.active = listed
    with pytest.raises(ConfigurationError, match="CRONTAB_PLUGINS"):
        current()


@pytest.mark.django_db
def test_what_cannot_be_read_is_named_in_every_place_and_the_others_run(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.write("* * * * * one\n0 24 * * * two\n* * * * * --for-each-tenant three\n")
    scheduler = Scheduler()
    scheduler.run_once(NOW)
    scheduler.run_once(NOW + MINUTE)
    assert fired() == ["crontab/one"]
    place = f"{files.folder}/crontab:2:3"
    assert caplog.text.count(f"{place}: Cron '0 24 * * *': hour '24': 24 is out of range") == 1

    code, shown = command("crontab", "check")
    assert code == 1
    assert f"{place}: Cron" in shown
    assert f"{files.folder}/crontab:3:29: --for-each-tenant: this project has no tenants" in shown
    assert "1 line in 1 file can be run, 2 cannot." in shown
    assert [finding.name for finding in diagnosis.crontabs() if finding.level == "fail"] == [
        f"crontab {place}", f"crontab {files.folder}/crontab:3:29",
    ]  # fmt: skip


@pytest.mark.django_db
def test_files_that_are_not_there_or_cannot_be_read_are_problems(files: Files) -> None:
    (files.folder / "crontab").unlink()
    (files.folder / "plugins" / "odd" / "crontab").mkdir(parents=True)
    files.active = ["odd", "without"]
    said = [str(problem) for problem in current()[1].problems]
    assert said == [
        f"{files.folder}/crontab:1:1: the file cannot be read: No such file or directory",
        f"{files.folder}/plugins/odd/crontab:1:1: the file cannot be read: Is a directory",
    ]


@pytest.mark.django_db
def test_the_lines_are_listed_with_what_becomes_of_them(files: Files) -> None:
    path = files.write("0 3 * * * one\n0 4 * * * two\n")
    Schedule.objects.define(name="crontab/two", tenant="", recurrence=Cron("0 1 * * *"), task=nothing)
    code, shown = command("crontab", "list", "--json")
    assert (code, [line["state"] for line in json.loads(shown)]) == (0, ["not seen yet", "in the way"])
    Scheduler().run_once(dt.datetime.now(dt.UTC))
    Schedule.objects.get(name="crontab/one").pause()
    one, _ = json.loads(command("crontab", "list", "--json")[1])
    assert (one["name"], one["state"], one["command"]) == ("crontab/one", "paused", "one")
    assert (one["file"], one["line"]) == (str(path), 1)
    assert "crontab/one" in command("crontab", "list")[1]
    path.write_text("")
    assert command("crontab", "list")[0] == 1


@pytest.mark.django_db
def test_any_file_can_be_checked(files: Files) -> None:
    other = files.write("0 3 * * * fine\n", "other")
    code, shown = command("crontab", "check", str(other), "--json")
    assert (code, json.loads(shown)) == (0, {"files": [str(other)], "lines": 1, "problems": []})
    other.write_text("0 3 * * fine\n")
    code, shown = command("crontab", "check", str(other), "--json")
    assert (code, json.loads(shown)["problems"][0]["line"]) == (1, 1)


# -- jobs --------------------------------------------------------------------------------------------------------------


def job_of(name: str) -> Job:
    job = Schedule.objects.get(name=name).run_now().job
    return Job.objects.get(id=job)


@pytest.mark.django_db
@pytest.mark.usefixtures("eager")
def test_a_line_runs_as_a_job_with_its_output_in_the_job_and_in_its_log(files: Files) -> None:
    files.write(
        "STAGE=live\n"
        "* * * * * --name=theirs printf 'one\\n' >> $STAGE.log 2>&1\n"
        '* * * * * --name=shell echo "$STAGE, $TASKYARD_JOB_ID, tenant $TASKYARD_TENANT." && pwd && cat%from input\n'
    )
    Scheduler().run_once(NOW)
    for _ in range(2):
        job = job_of("crontab/theirs")
        assert (job.state, job.queue) == ("succeeded", "crontab"), job.error
    assert files.log("live.log") == "one\none\n"
    assert job.result == {
        "exit_code": 0, "output": "one\n", "output_bytes": 4, "log": str(files.folder / "live.log"),
    }  # fmt: skip
    job = job_of("crontab/shell")
    text = f"live, {job.id}, tenant .\n{files.folder}\nfrom input"
    assert (job.result["output"], files.log("logs/crontab.shell.log")) == (text, text)


@pytest.mark.django_db
@pytest.mark.usefixtures("eager")
def test_a_command_that_fails_is_a_failed_job_with_its_output(files: Files) -> None:
    files.write(
        "* * * * * --name=fails echo to stdout; echo to stderr >&2; exit 3\n"
        "* * * * * --name=killed kill -9 $$\n"
        "* * * * * --name=nobody no-such-program\n"
        "* * * * * --name=nowhere true >> no/such/folder/x.log 2>&1\n"
    )
    Scheduler().run_once(NOW)
    failed = job_of("crontab/fails")
    assert failed.state == "failed"
    assert failed.error["type"] == "taskyard.errors.CommandFailed"
    assert failed.error["message"] == "exit code 3\nto stdout\nto stderr"
    assert failed.attempt == 1
    assert files.log("logs/crontab.fails.log") == "to stdout\nto stderr\n"
    assert job_of("crontab/killed").error["message"] == "ended by SIGKILL"
    for name, what in (("nobody", "no-such-program"), ("nowhere", "x.log")):
        error = job_of(f"crontab/{name}").error
        assert (error["type"], what in error["message"]) == ("FileNotFoundError", True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("eager")
def test_a_command_is_ended_at_its_time_limit(files: Files) -> None:
    files.write("* * * * * --name=slow --time-limit=1s echo begun; sleep 600\n")
    Scheduler().run_once(NOW)
    assert job_of("crontab/slow").error["message"] == "ended after its time limit of 1 s\nbegun"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("eager")
def test_a_command_ends_when_its_job_is_cancelled(files: Files) -> None:
    files.write("* * * * * --name=slow sleep 600\n")
    Scheduler().run_once(NOW)

    def cancel() -> None:
        running = Job.objects.filter(state="running")
        wait_until(running.exists, 30, "it runs")
        steering.cancel([running.get().id], dt.datetime.now(dt.UTC))
        connections.close_all()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    job = job_of("crontab/slow")
    canceller.join()
    assert (job.state, job.error["reason"]) == ("cancelled", "cancelled")


@pytest.mark.django_db
@pytest.mark.usefixtures("eager")
def test_a_worker_runs_what_stands_in_its_own_files_and_nothing_else(files: Files) -> None:
    files.write("* * * * * one\n")
    files.plugin("labels", "* * * * * echo labels\n")
    job = run_command.enqueue(line="rm -rf /")
    job.refresh_from_db()
    assert (job.state, job.error["type"]) == ("failed", "taskyard.errors.UnknownLine")
    # One that waited while its plugin was switched off.
    job = run_command.enqueue(line="labels/echo-labels", plugin="labels")
    job.refresh_from_db()
    assert (job.state, job.error["message"]) == ("cancelled", "the plugin 'labels' is not active any more")
    files.active = ["labels"]
    job = run_command.enqueue(line="labels/echo-labels", plugin="labels")
    job.refresh_from_db()
    assert job.result["output"] == "labels\n"


# -- processes ---------------------------------------------------------------------------------------------------------

#: Starts another process, says both numbers, and waits; neither heeds a request to end.
STUBBORN = "trap '' TERM; (trap '' TERM; sleep 600) & echo $$ $!; wait"
IN_A_PROCESS = """
import os, sys
from pathlib import Path
from taskyard.schedules.sources.crontab.process import Call, run
run(Call(["/bin/sh", "-c", sys.argv[1]], os.environ, Path.cwd()),
    take=lambda chunk: os.write(1, chunk), check=lambda: None)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def call(script: str, limit: float | None = None) -> Call:
    return Call(["/bin/sh", "-c", script], os.environ, Path.cwd(), limit=limit)


class Stop(Exception):
    pass


def test_all_that_a_command_started_is_killed_when_its_job_is_to_stop() -> None:
    said = bytearray()

    def check() -> None:
        if said.endswith(b"\n"):
            raise Stop

    with pytest.raises(Stop):
        run(call(STUBBORN), take=said.extend, check=check)
    pids = [int(pid) for pid in said.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_running, pids)), 10, "both are gone")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_all_that_a_command_started_is_killed_with_the_process_that_watches_it() -> None:
    with subprocess.Popen([sys.executable, "-c", IN_A_PROCESS, STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert [is_running(pid) for pid in pids] == [True, True]
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, pids)), 10, "both are gone")


def test_a_command_that_heeds_the_request_ends_before_it_is_killed() -> None:
    said = bytearray()
    with pytest.raises(TookTooLong):
        run(call("trap 'echo bye; exit' TERM; sleep 600 & wait", limit=0.3), take=said.extend, check=lambda: None)
    assert said == b"bye\n"


def test_what_it_leaves_in_the_background_does_not_hold_up_the_job_and_goes_on() -> None:
    said = bytearray()
    assert run(call("sleep 600 & echo $!"), take=said.extend, check=lambda: None) == 0
    pid = int(said)
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


def test_one_that_closes_its_output_is_waited_for() -> None:
    assert run(call("exec >&- 2>&-; sleep 0.2; exit 7"), take=bytes, check=lambda: None) == 7


def test_more_output_than_a_pipe_holds_arrives_whole_and_in_order() -> None:
    said = bytearray()
    assert run(call("seq 1 50000"), take=said.extend, check=lambda: None) == 0
    assert said.split() == [str(number).encode() for number in range(1, 50_001)]
