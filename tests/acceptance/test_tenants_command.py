"""``taskyard tenants`` as a person meets it: a project on SQLite, real processes, output and exit codes."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import taskyard
from tests import nursery
from tests.servers.process import wait_until

SETTINGS = """
import json, os
from pathlib import Path
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "taskyard", "shop"]
USE_TZ = True
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
}}
def tenants(name=None):
    from taskyard.errors import TenantNotReady
    if name is None:
        return ["acme", "globex", "init,tech"]
    if name == "limbo":
        raise TenantNotReady(name)
    return name if name in tenants() else None
CELERY_TASK_TIME_LIMIT = 60
TASKYARD = {"TENANCY": "rows", "TENANTS": tenants}
if os.environ.get("SHOP_WITHOUT_TENANTS"):
    TASKYARD = {}
"""
COMMAND = """
import signal, sys, threading
from pathlib import Path
from django.core.management.base import BaseCommand, CommandError
from taskyard.tenancy import current_tenant

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--greeting", default="hello")
        parser.add_argument("--fails-for", default="")
        parser.add_argument("--waits", action="store_true")
        parser.add_argument("--stubborn", action="store_true")
        parser.add_argument("--crashes", action="store_true")
        parser.add_argument("--meets", type=int, default=0)

    def handle(self, *, greeting, fails_for, waits, stubborn, crashes, meets, **options):
        tenant = current_tenant()
        self.stdout.write(f"{greeting} {tenant}")
        Path(f"began-{tenant}").touch()
        if stubborn:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        if waits:
            self.stdout.write("waiting")
            threading.Event().wait(60)
        if crashes:
            from django.db import DatabaseError
            raise DatabaseError("of the command's own")
        while len(list(Path().glob("began-*"))) < meets:
            threading.Event().wait(0.02)
        if tenant in fails_for.split("+"):
            raise CommandError("no stock left", returncode=7)
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
TASKS = """
from taskyard import task

@task
def nothing() -> None:
    pass
"""


@dataclass
class Shop:
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "CELERY_"))}
        return {**kept, "PYTHONPATH": str(Path(taskyard.__file__).parent.parent), **self.settings}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "manage.py", "taskyard", "tenants", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return nursery.run(self.command(*words)[1:], cwd=self.folder, env=self.environment(), timeout=100)

    def began(self) -> set[str]:
        return {file.name.removeprefix("began-") for file in self.folder.glob("began-*")}

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command(*words), cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    folder = tmp_path / "shop" / "management" / "commands"
    folder.mkdir(parents=True)
    files = {"settings.py": SETTINGS, "manage.py": MANAGE, "shop/__init__.py": "", "shop/tasks.py": TASKS,
             "shop/management/commands/greet.py": COMMAND}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return Shop(tmp_path)


@pytest.fixture
def migrated(shop: Shop) -> Shop:
    done = nursery.run(["manage.py", "migrate", "-v0"], cwd=shop.folder, env=shop.environment(), timeout=100)
    assert done.returncode == 0, done.stderr
    return shop


def test_a_command_runs_once_for_each_tenant_and_each_line_says_whose_it_is(shop: Shop) -> None:
    done = shop.run("run", "--", "greet", "--greeting=good morning")
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "acme      | good morning acme"
    assert [line for line in lines if " | " in line] == [
        "acme      | good morning acme", "globex    | good morning globex", "init,tech | good morning init,tech",
    ]  # fmt: skip
    assert lines[1].startswith("[1/3] acme: ok, ")
    assert lines[-1] == "3 of 3 tenants ok."
    assert "\033" not in done.stdout and "\r" not in done.stdout


def test_tenants_run_at_the_same_time_when_asked_to(shop: Shop) -> None:
    # Each waits for the others to have begun: one after the other they would never end.
    done = shop.run("run", "--parallel", "3", "--", "greet", "--meets=3")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "3 of 3 tenants ok."), done.stdout


def test_those_that_failed_are_named_and_the_others_run(shop: Shop) -> None:
    done = shop.run("run", "--", "greet", "--fails-for=acme+globex")
    assert done.returncode == 1
    assert "acme      | CommandError: no stock left" in done.stdout
    assert done.stdout.splitlines()[-2:] == [
        "1 of 3 tenants ok.", "2 failed: acme (exit code 7), globex (exit code 7)",
    ]  # fmt: skip
    assert shop.began() == {"acme", "globex", "init,tech"}


def test_fail_fast_begins_no_more_and_says_which(shop: Shop) -> None:
    done = shop.run("run", "--fail-fast", "--json", "--", "greet", "--fails-for=globex")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "ok": ["acme"], "failed": [{"tenant": "globex", "exit_code": 7}], "stopped": [], "not_begun": ["init,tech"],
    }  # fmt: skip
    assert "hello acme" in done.stderr
    assert shop.began() == {"acme", "globex"}


def test_an_error_of_the_commands_own_is_shown_as_it_is(shop: Shop) -> None:
    done = shop.run("run", "--tenants", "acme", "--", "greet", "--crashes")
    assert done.returncode == 1
    assert "Traceback" in done.stdout and "of the command's own" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "Write it after --"),
        (["run", "greet"], ""),
        (["run", "--tenants", "acme,nobody", "--", "greet"], "no tenant 'nobody'"),
        (["run", "--parallel", "0", "--", "greet"], "not a whole number above zero"),
        (["run", "--here", "--", "greet"], "name it with --tenants"),
    ],
)
def test_a_wrong_call_is_code_2_and_runs_nothing(shop: Shop, words: list[str], says: str) -> None:
    done = shop.run(*words)
    assert done.returncode == 2
    assert says in done.stderr and "Traceback" not in done.stderr
    assert shop.began() == set()


def test_a_project_without_tenants_is_told_so_with_code_2(shop: Shop) -> None:
    shop.settings["SHOP_WITHOUT_TENANTS"] = "1"
    done = shop.run("run", "--", "greet")
    assert done.returncode == 2
    assert "TASKYARD['TENANCY'] is not set" in done.stderr


def test_a_tenant_that_is_not_ready_fails_and_the_others_run(shop: Shop) -> None:
    done = shop.run("run", "--tenants", "limbo,acme", "--", "greet")
    assert done.returncode == 1
    assert "limbo | taskyard: Tenant 'limbo' is not ready" in done.stdout
    assert shop.began() == {"acme"}


def test_here_is_this_process_and_this_terminal(shop: Shop) -> None:
    done = shop.run("run", "--here", "--tenants", "init,tech", "--", "greet", "--fails-for=init,tech")
    assert (done.returncode, done.stdout) == (7, "hello init,tech\n")


def test_ctrl_c_ends_what_runs_and_says_what_was_not_done(shop: Shop) -> None:
    with shop.running("run", "--parallel", "2", "--", "greet", "--waits") as process:
        wait_until(lambda: shop.began() == {"acme", "globex"}, 60, "two tenants to begin")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    lines = out.splitlines()
    assert "SIGINT: stopping acme, globex; again to kill" in lines
    assert lines[-3] == "0 of 3 tenants ok."
    assert lines[-2] in ("2 stopped midway: acme, globex", "2 stopped midway: globex, acme")
    assert lines[-1] == "1 not begun: init,tech"
    assert shop.began() == {"acme", "globex"}


def test_a_second_ctrl_c_kills_what_does_not_listen(shop: Shop) -> None:
    with shop.running("run", "--", "greet", "--stubborn", "--waits") as process:
        assert process.stdout is not None
        seen = ""
        while "waiting" not in seen:
            seen = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        while "stopping" not in seen:
            seen = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        process.wait(timeout=60)
    assert process.returncode == 130
    assert "acme: asked again: killed" in rest and "1 stopped midway: acme" in rest


def test_a_terminal_shows_how_far_it_is(shop: Shop) -> None:
    shop.settings["TERM"] = "xterm"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shop.command("run", "--", "greet"), cwd=shop.folder, env=shop.environment(), stdout=theirs, stderr=theirs,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    # The kernel says EIO where a file would end.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "0 of 3 done; now acme" in text and "1 of 3 done; now globex" in text
    # Nothing of it is left at the end.
    assert text.rstrip().endswith("3 of 3 tenants ok.") and text.rindex("\033[2K") > text.rindex(" done; now")


# list


def enqueue(shop: Shop, *tenants: str) -> None:
    calls = "; ".join(f"tasks.nothing.using(tenant={name!r}).enqueue()" for name in tenants)
    code = f"import django; django.setup(); from shop import tasks; {calls}"
    environment = {**shop.environment(), "DJANGO_SETTINGS_MODULE": "settings"}
    done = nursery.run(["-c", code], cwd=shop.folder, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr


def test_the_list_shows_ready_tenants_and_whoever_has_jobs(migrated: Shop) -> None:
    enqueue(migrated, "acme", "acme", "limbo", "deleted")
    shown: list[dict[str, Any]] = json.loads(migrated.run("list", "--json").stdout)
    assert [(one["name"], one["state"], one["waiting"]) for one in shown] == [
        ("acme", "ready", 2), ("deleted", "unknown", 1), ("globex", "ready", 0), ("init,tech", "ready", 0),
        ("limbo", "not ready", 1),
    ]  # fmt: skip
    table = migrated.run("list")
    assert table.returncode == 0
    assert table.stdout.splitlines()[0].split() == ["TENANT", "STATE", "WAITING", "RUNNING", "FAILED"]
    assert table.stdout.splitlines()[1].split() == ["acme", "ready", "2", "0", "0"]


def test_without_tenancy_the_list_shows_the_labels_of_jobs(migrated: Shop) -> None:
    migrated.settings["SHOP_WITHOUT_TENANTS"] = "1"
    assert migrated.run("list").returncode == 1
    enqueue(migrated, "acme")
    assert [(one["name"], one["state"]) for one in json.loads(migrated.run("list", "--json").stdout)] == [
        ("acme", None)
    ]
