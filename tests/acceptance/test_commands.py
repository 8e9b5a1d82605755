"""The command line as a person meets it: real processes, a real SQLite project, exit codes, rows."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import taskyard
from tests import nursery
from tests.servers.process import free_port, wait_until

SETTINGS = """
import json, os
from pathlib import Path
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "taskyard", "shop"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3",
    "OPTIONS": json.loads(os.environ.get("SHOP_SQLITE", "null")) or {
        "transaction_mode": "IMMEDIATE", "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
}}
if "SHOP_POSTGRES_PORT" in os.environ:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "127.0.0.1", "USER": "shop",
        "PORT": os.environ["SHOP_POSTGRES_PORT"],
    }
TASKYARD = json.loads(os.environ.get("SHOP_TASKYARD", "{}"))
"""
TASKS = """
import threading
from datetime import timedelta
from taskyard import RetryPolicy, current_job, task

@task
def add(a: int, b: int) -> int:
    return a + b

@task
def boom() -> None:
    raise RuntimeError("no stock left")

@task(queue="low", priority=5, time_limit=timedelta(minutes=2), unique="number",
      retry=RetryPolicy(on=(ValueError,), max_retries=2))
def count(number: int) -> int:
    job = current_job()
    for step in job.track(range(number), message="counting"):
        threading.Event().wait(0.1)
    return number
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


@dataclass
class Shop:
    """A project in a folder, seen from outside."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "CELERY_"))}
        return {**kept, "PYTHONPATH": str(Path(taskyard.__file__).parent.parent), **self.settings}

    def run(self, *words: str, program: tuple[str, ...] = ("-m", "taskyard")) -> subprocess.CompletedProcess[str]:
        return nursery.run([*program, *words], cwd=self.folder, env=self.environment(), timeout=60)

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert not done.stderr, done.stderr
        return json.loads(done.stdout)

    def enqueue(self, call: str) -> str:
        """The id of the job of ``tasks.<call>``."""
        code = "import django; django.setup(); from datetime import timedelta; from shop import tasks"
        self.settings["DJANGO_SETTINGS_MODULE"] = "settings"
        try:
            done = self.run(program=("-c", f"{code}; print(tasks.{call}.id)"))
        finally:
            del self.settings["DJANGO_SETTINGS_MODULE"]
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def define(self, name: str, task: str) -> None:
        """A schedule of a person's."""
        code = "import django; django.setup(); from taskyard.schedules import Cron, Schedule"
        what = f"name={name!r}, task={task!r}, kwargs={{'number': 1}}, recurrence=Cron('0 1 * * *')"
        self.settings["DJANGO_SETTINGS_MODULE"] = "settings"
        done = self.run(program=("-c", f"{code}; Schedule.objects.define({what})"))
        assert done.returncode == 0, done.stderr

    def row(self, job_id: str) -> dict[str, Any]:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            return dict(
                connection.execute("SELECT * FROM taskyard_job WHERE id = ?", [job_id.replace("-", "")]).fetchone()
            )

    def state(self, job_id: str) -> str:
        return str(self.row(job_id)["state"])

    def change(self, job_id: str, assign: str) -> None:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as connection:
            connection.execute(f"UPDATE taskyard_job SET {assign} WHERE id = ?", [job_id.replace("-", "")])
            connection.commit()

    @contextmanager
    def running(self, *words: str) -> Iterator[Any]:
        """A process that runs meanwhile, its output in ``<first word>.log``; killed with its group at the end."""
        with (self.folder / f"{words[0]}.log").open("w") as log:
            process = nursery.start(["-m", "taskyard", *words], cwd=self.folder, env=self.environment(), stdout=log)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            # Shown by pytest when the test fails.
            print(self.log(words[0]))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def workers(self) -> list[dict[str, Any]]:
        return [worker for worker in self.json("status")["workers"] if worker["state"] == "alive"]


@pytest.fixture
def unmigrated(tmp_path: Path) -> Shop:
    return made_in(tmp_path)


def made_in(folder: Path) -> Shop:
    (folder / "shop").mkdir()
    files = {"settings.py": SETTINGS, "manage.py": MANAGE, "shop/__init__.py": "", "shop/tasks.py": TASKS,
             "shop/urls.py": "urlpatterns = []\n"}  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text)
    return Shop(folder)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to copy."""
    shop = made_in(tmp_path_factory.mktemp("migrated"))
    done = shop.run("migrate", "-v0", program=("manage.py",))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(shop.folder / "db.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return shop.folder / "db.sqlite3"


@pytest.fixture
def shop(unmigrated: Shop, migrated: Path) -> Shop:
    shutil.copy(migrated, unmigrated.folder)
    return unmigrated


def is_sentence(text: str) -> bool:
    return text.startswith("taskyard: ") and "Traceback" not in text


# errors


def test_missing_migrations_are_a_sentence_and_code_1(unmigrated: Shop) -> None:
    for words in (["status"], ["jobs", "list"], ["worker"], ["scheduler"], ["up", "--no-web"]):
        done = unmigrated.run(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert is_sentence(done.stderr), done.stderr
        assert "manage.py migrate" in done.stderr


def test_an_unreachable_database_is_a_sentence_and_code_3(unmigrated: Shop) -> None:
    pytest.importorskip("psycopg")
    unmigrated.settings["SHOP_POSTGRES_PORT"] = str(free_port())
    for words in (["status"], ["worker"]):
        done = unmigrated.run(*words)
        assert (done.returncode, done.stdout) == (3, ""), words
        assert is_sentence(done.stderr), done.stderr
        assert "cannot be reached" in done.stderr


def test_bad_settings_are_reported_all_at_once_with_code_1(unmigrated: Shop) -> None:
    unmigrated.settings["SHOP_TASKYARD"] = '{"QUEUEZ": [], "POISON_AFTER": 0}'
    done = unmigrated.run("status")
    assert done.returncode == 1
    assert is_sentence(done.stderr)
    assert "Did you mean 'QUEUES'?" in done.stderr
    assert "POISON_AFTER" in done.stderr


def test_an_unknown_queue_is_refused_with_code_2(unmigrated: Shop) -> None:
    unmigrated.settings["SHOP_TASKYARD"] = '{"QUEUES": ["high", "low"]}'
    for words in (["worker", "-Q", "hihg"], ["up", "--no-web", "--workers", "hihg:2"], ["queues", "pause", "hihg"]):
        done = unmigrated.run(*words)
        assert done.returncode == 2, words
        assert "Known queues: high, low" in done.stderr


def test_a_folder_without_a_project_is_told_so_with_code_2(tmp_path: Path) -> None:
    done = Shop(tmp_path).run("status")
    assert done.returncode == 2
    assert "DJANGO_SETTINGS_MODULE" in done.stderr


def test_bad_usage_is_code_2(shop: Shop) -> None:
    for words in ([], ["bogus"], ["jobs", "retry"], ["jobs", "list", "--since", "soon"], ["worker", "--bogus"]):
        done = shop.run(*words)
        assert done.returncode == 2, words
        assert "Traceback" not in done.stderr


# reading


def test_call_command_works_and_tells_the_exit_code(shop: Shop) -> None:
    code = """
import io, django; django.setup()
from django.core.management import CommandError, call_command
out = io.StringIO()
call_command("taskyard", "tasks", "list", "--json", stdout=out)
assert "shop.add" in out.getvalue()
try:
    call_command("taskyard", "jobs", "list", stdout=out, stderr=out)
except CommandError as error:
    print(error.returncode, out.getvalue().splitlines()[-1])
"""
    shop.settings["DJANGO_SETTINGS_MODULE"] = "settings"
    assert shop.run(program=("-c", code)).stdout == "1 No job matches.\n"


def test_manage_py_and_python_m_are_the_same_command(shop: Shop) -> None:
    one = shop.run("tasks", "list", "--json")
    other = shop.run("taskyard", "tasks", "list", "--json", program=("manage.py",))
    assert one.stdout == other.stdout
    assert "usage: manage.py taskyard" in shop.run("help", "taskyard", program=("manage.py",)).stdout


def test_tasks_list_shows_every_declared_task_with_its_options(shop: Shop) -> None:
    tasks = {task["name"]: task for task in shop.json("tasks", "list")}
    assert set(tasks) == {"shop.add", "shop.boom", "shop.count"}
    count = tasks["shop.count"]
    assert (count["queue"], count["priority"], count["max_retries"], count["retry_on"]) == ("low", 5, 2, ["ValueError"])
    assert (count["time_limit_seconds"], count["unique"], count["unique_until"]) == (120.0, "number", "end")
    assert "shop.count" in shop.run("tasks", "list").stdout


CELERYS = """
from celery import shared_task
from taskyard.schedules import Cron, schedule

schedule(Cron("0 3 * * *"), name="nightly")(count)

@shared_task(
    bind=True, autoretry_for=(OSError,), retry_backoff=5, retry_backoff_max=60, max_retries=4, soft_time_limit=30,
    queue="low",
)
def older(self, number):
    \"\"\"What was there before.

    And still is.\"\"\"
"""


def test_tasks_show_says_everything_about_one_of_ours_or_of_celerys(shop: Shop) -> None:
    with (shop.folder / "shop" / "tasks.py").open("a") as tasks:
        tasks.write(CELERYS)
    shop.define("report", "shop.count")
    count, older = shop.json("tasks", "show", "shop.count"), shop.json("tasks", "show", "shop.tasks.older")
    assert (count["schedules"], count["routed_to"], count["kind"]) == (["nightly", "report"], "low", "taskyard")
    wanted = {
        "kind": "celery", "about": "What was there before.", "signature": "(number)", "queue": "low",
        "retry_on": ["OSError"], "max_retries": 4, "soft_time_limit_seconds": 30.0, "schedules": [], "tracked": True,
        "backoff_seconds": 5.0, "backoff_max_seconds": 60.0, "jitter": True, "bind": True,
    }  # fmt: skip
    assert {name: older[name] for name in wanted} == wanted
    path, _, line = older["source"].partition(":")
    assert (shop.folder / path).read_text().splitlines()[int(line) - 1].startswith("@shared_task")
    text = shop.run("tasks", "show", "shop.count").stdout
    for words in ("scheduled      nightly, report", "unique         number until end", "hard 2 min", "2 on ValueError"):
        assert words in text, text
    missing = shop.run("tasks", "show", "shop.cuont")
    assert (missing.returncode, "Did you mean 'shop.count'?" in missing.stderr) == (1, True)


def test_tasks_are_listed_before_there_is_a_database(unmigrated: Shop) -> None:
    assert len(unmigrated.json("tasks", "list")) == 3


def test_jobs_are_listed_by_filter_and_nothing_matched_is_code_1(shop: Shop) -> None:
    add, count = shop.enqueue("add.enqueue(1, 2)"), shop.enqueue("count.enqueue(number=3)")
    assert [job["id"] for job in shop.json("jobs", "list")] == [count, add]
    assert [job["id"] for job in shop.json("jobs", "list", "--queue", "low")] == [count]
    assert [job["id"] for job in shop.json("jobs", "list", "--task", "shop.a*", "--state", "pending")] == [add]
    assert [job["id"] for job in shop.json("jobs", "list", "--since", "1h", "--limit", "1")] == [count]
    done = shop.run("jobs", "list", "--state", "failed", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, [])


def test_jobs_show_says_why_a_job_waits(shop: Shop) -> None:
    soon = shop.enqueue("add.enqueue(1, 2)")
    later = shop.enqueue("add.using(run_after=timedelta(hours=2)).enqueue(1, 2)")
    assert "no live worker consumes queue 'celery'" in shop.json("jobs", "show", soon)["waits_because"]
    assert "its time has not come" in shop.run("jobs", "show", later).stdout
    assert shop.run("queues", "pause", "celery", "--reason", "stocktaking").returncode == 0
    assert "stocktaking" in shop.json("jobs", "show", soon)["waits_because"]
    assert shop.run("jobs", "show", "nothing-like-that").returncode == 1


# steering


def test_cancel_retry_and_discard_say_what_they_did(shop: Shop) -> None:
    job = shop.enqueue("add.enqueue(1, 2)")
    assert shop.run("jobs", "discard", job).returncode == 1
    assert shop.run("jobs", "cancel", job).returncode == 0
    assert shop.state(job) == "cancelled"
    assert shop.run("jobs", "cancel", job).returncode == 1
    assert shop.json("jobs", "retry", job) == {"verb": "retry", "matched": 1, "changed": 1}
    assert (shop.state(job), shop.row(job)["max_attempts"]) == ("pending", 2)
    shop.change(job, "state = 'failed', finished_at = '2026-01-01 00:00:00'")
    assert shop.run("jobs", "discard", "--state", "failed").returncode == 0
    assert shop.state(job) == "cancelled"


def test_a_dry_run_names_the_jobs_and_changes_nothing(shop: Shop) -> None:
    add, _ = shop.enqueue("add.enqueue(1, 2)"), shop.enqueue("count.enqueue(number=3)")
    document = shop.json("jobs", "cancel", "--task", "shop.add", "--dry-run")
    assert (document["matched"], document["ids"]) == (1, [add])
    assert "Nothing was changed" in shop.run("jobs", "cancel", "--task", "shop.add", "--dry-run").stdout
    assert shop.state(add) == "pending"


def test_prune_deletes_what_ended_before_and_leaves_the_rest(shop: Shop) -> None:
    old, new = shop.enqueue("add.enqueue(1, 2)"), shop.enqueue("add.enqueue(3, 4)")
    shop.change(old, "state = 'succeeded', finished_at = '2026-01-01 00:00:00'")
    assert shop.json("jobs", "prune", "--before", "30d", "--dry-run")["deleted"]["succeeded"] == 1
    assert shop.json("jobs", "prune", "--before", "30d")["deleted"]["succeeded"] == 1
    assert [job["id"] for job in shop.json("jobs", "list")] == [new]


# running


def test_a_worker_runs_jobs_and_ends_warmly_with_code_0(shop: Shop) -> None:
    job, bad = shop.enqueue("add.enqueue(1, 2)"), shop.enqueue("boom.enqueue()")
    with shop.running("worker", "-c", "1", "-l", "warning") as worker:
        wait_until(lambda: (shop.state(job), shop.state(bad)) == ("succeeded", "failed"), 30, "both jobs to end")
        status = shop.json("status")
        assert (len(status["workers"]), status["workers"][0]["slots"]) == (1, 1)
        assert status["ended_last_hour"] == {"succeeded": 1, "failed": 1, "cancelled": 0}
        worker.terminate()
        assert worker.wait(30) == 0
    page = shop.run("jobs", "show", bad).stdout
    assert "RuntimeError: no stock left" in page
    assert "raise RuntimeError" in page


def test_a_tenant_and_a_queue_are_limited_and_the_limits_taken_away(shop: Shop) -> None:
    said = shop.run("tenants", "limit", "acme", "--weight", "3", "--max-running", "2", "--rate", "10", "--per", "60")
    assert (said.returncode, said.stdout) == (
        0, "tenant 'acme': weight 3, 2 jobs at a time, 10 starts in 60 s.\n",
    )  # fmt: skip
    said = shop.run("tenants", "limit", "acme", "--max-running", "none", "--rate", "none")
    assert said.stdout == "tenant 'acme': weight 3, any number of jobs at a time.\n"
    assert shop.run("queues", "limit", "celery", "--max-running", "1").stdout == "queue 'celery': 1 jobs at a time.\n"
    for words in (["acme"], ["acme", "--weight", "0"], ["acme", "--rate", "-1"], ["acme", "--max-running", "x"]):
        assert shop.run("tenants", "limit", *words).returncode == 2

    assert shop.run("tenants", "pause", "acme", "--reason", "unpaid").returncode == 0
    job = shop.enqueue("add.using(tenant='acme').enqueue(1, 2)")
    with shop.running("worker", "-c", "1", "-l", "warning"):
        wait_until(shop.workers, 30, "the worker")
        assert ": unpaid" in shop.json("jobs", "show", job)["waits_because"]
    assert shop.run("tenants", "pause", "acme").returncode == 1
    assert shop.run("tenants", "resume", "acme").returncode == 0


def test_a_job_and_the_doctor_name_the_limit_that_is_waited_for(shop: Shop) -> None:
    assert shop.run("tenants", "limit", "acme", "--max-running", "1").returncode == 0
    first, second = (shop.enqueue(f"count.using(tenant='acme').enqueue(number={number})") for number in (200, 201))
    with shop.running("worker", "-Q", "low", "-c", "2", "-l", "warning"):
        wait_until(lambda: sorted([shop.state(first), shop.state(second)]) == ["pending", "running"], 30, "one of them")
        waiting = first if shop.state(first) == "pending" else second
        says = shop.json("jobs", "show", waiting)["waits_because"]
        assert "tenant 'acme' has 1 of at most 1 jobs running or in the broker" in says
        assert "taskyard tenants limit acme --max-running" in says
        assert "has 1 of at most 1" in shop.run("status").stdout
        checks = {check["name"]: check for check in json.loads(shop.run("doctor", "--json").stdout)["checks"]}
        assert checks["tenant acme"]["facts"]["due"] == 1
        assert "taskyard tenants limit acme --max-running" in checks["tenant acme"]["fix"]
        assert "queue low" not in checks
        assert shop.run("tenants", "limit", "acme", "--max-running", "none").returncode == 0
        wait_until(lambda: shop.state(waiting) == "running", 30, "the other one")


def test_a_paused_queue_is_held_back_until_it_is_resumed(shop: Shop) -> None:
    assert shop.run("queues", "pause", "celery").returncode == 0
    assert shop.run("queues", "pause", "celery").returncode == 1
    with shop.running("worker", "-c", "1", "-l", "warning"):
        wait_until(shop.workers, 30, "the worker")
        job = shop.enqueue("add.enqueue(1, 2)")
        with pytest.raises(TimeoutError):
            wait_until(lambda: shop.state(job) != "pending", 3, "nothing")
        assert shop.json("queues", "list")[0]["paused_at"]
        assert shop.run("queues", "resume", "celery").returncode == 0
        wait_until(lambda: shop.state(job) == "succeeded", 30, "the job to run")
    assert shop.run("queues", "resume", "celery").returncode == 1


def test_tail_follows_a_job_to_its_end_and_stops_when_idle(shop: Shop) -> None:
    job = shop.enqueue("count.enqueue(number=15)")
    with shop.running("worker", "-Q", "low", "-c", "1", "-l", "warning"):
        done = shop.run("jobs", "tail", "--until-idle", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {event["job"]["id"] for event in events} == {job}
    assert [event["event"] for event in events if event["event"] != "progress"] == ["started", "ended"]
    assert any(event["event"] == "progress" for event in events)


def test_the_scheduler_says_when_it_is_ready_and_ends_with_code_0(shop: Shop) -> None:
    shop.enqueue("add.enqueue(1, 2)")
    with shop.running("scheduler") as scheduler:
        wait_until(
            lambda: "scheduler ready: feeder, rescuer, scheduler, teller, keeper, pruner" in shop.log("scheduler"),
            20,
            "the ready line",
        )
        wait_until(lambda: shop.json("jobs", "list", "--state", "queued"), 30, "the feeder to feed")
        scheduler.terminate()
        assert scheduler.wait(30) == 0
    assert shop.log("scheduler").count("\n") == 2


def test_up_runs_web_and_workers_and_one_signal_ends_all(shop: Shop) -> None:
    job = shop.enqueue("count.enqueue(number=1)")
    port = free_port()
    with shop.running("up", "--port", str(port), "--workers", "low:1", "celery:1") as up:
        wait_until(lambda: shop.state(job) == "succeeded", 30, "the job to run")
        wait_until(lambda: len(shop.workers()) == 2, 20, "both workers")
        wait_until(lambda: f"127.0.0.1:{port}" in shop.log("up"), 20, "the web server")
        children = descendants(up.pid)
        up.terminate()
        assert up.wait(40) == 0
    assert "worker1 |" in shop.log("up")
    assert "\033[" not in shop.log("up")
    assert not [pid for pid in children if is_alive(pid)]


def test_up_ends_with_the_code_of_the_part_that_died(shop: Shop) -> None:
    with shop.running("up", "--no-web", "--workers", "low:1", "celery:1") as up:
        wait_until(lambda: len(shop.workers()) == 2, 30, "both workers")
        victim = next(worker["pid"] for worker in shop.workers() if worker["name"].startswith("worker2@"))
        os.kill(victim, signal.SIGKILL)
        assert up.wait(40) == 137
    assert "worker2 ended with signal SIGKILL; stopping worker1" in shop.log("up")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the children look for their parent once a second")
def test_children_do_not_outlive_a_supervisor_that_was_killed(shop: Shop) -> None:
    with shop.running("up", "--no-web", "--workers", "low:2") as up:
        wait_until(shop.workers, 30, "the worker")
        children = descendants(up.pid)
        assert len(children) >= 2
        up.kill()
        up.wait()
        wait_until(lambda: not [pid for pid in children if is_alive(pid)], 20, "the children to end")


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


# doctor


def findings(shop: Shop) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in shop.json("doctor")["checks"]}


def test_doctor_is_content_with_a_project_at_work(shop: Shop) -> None:
    with shop.running("worker", "-c", "1", "-l", "warning"):
        wait_until(shop.workers, 30, "the worker")
        found = findings(shop)
        assert {check["level"] for check in found.values()} == {"ok"}, found
        assert {"settings", "database", "migrations", "sqlite", "clock", "broker", "workers", "queues"} <= set(found)
        assert shop.run("doctor").returncode == 0


def test_doctor_names_work_without_a_worker_and_the_fix(shop: Shop) -> None:
    shop.enqueue("count.enqueue(number=3)")
    done = shop.run("doctor")
    assert done.returncode == 1
    assert "queue low: 1 job waits and no live worker consumes it" in done.stdout
    assert "fix: Start one: taskyard worker -Q low" in done.stdout


def test_doctor_stops_at_missing_migrations(unmigrated: Shop) -> None:
    done = unmigrated.run("doctor", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (1, False)
    assert document["checks"][-1]["fix"] == "Run: manage.py migrate taskyard"


def test_doctor_finds_sqlite_settings_that_lock_writers_out(unmigrated: Shop) -> None:
    unmigrated.settings["SHOP_SQLITE"] = '{"timeout": 20}'
    assert unmigrated.run("migrate", "-v0", program=("manage.py",)).returncode == 0
    found = findings(unmigrated)["sqlite"]
    assert found["level"] == "fail"
    assert "IMMEDIATE" in found["fix"]
    assert "WAL" in found["fix"]


def test_doctor_finds_a_broker_that_does_not_answer(shop: Shop) -> None:
    shop.settings["CELERY_BROKER_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    found = findings(shop)["broker"]
    assert found["level"] == "fail"
    assert "CELERY_BROKER_URL" in found["finding"] + found["fix"]


def test_doctor_finds_an_overdue_job_that_nobody_feeds(shop: Shop) -> None:
    shop.settings["SHOP_TASKYARD"] = '{"AGENTS": false}'
    job = shop.enqueue("add.enqueue(1, 2)")
    shop.change(job, "available_at = '2026-01-01 00:00:00'")
    with shop.running("worker", "-c", "1", "-l", "warning"):
        wait_until(shop.workers, 30, "the worker")
        found = findings(shop)["queue celery"]
    assert found["level"] == "fail"
    assert "no feeder acts for it" in found["finding"]
    assert "taskyard scheduler" in found["fix"]


SCHEDULES = """
from datetime import timedelta
from shop.tasks import add
from taskyard.schedules import Every, register
register("add 100% of them", Every(timedelta(days=1)), task=add, args=[1, 2])
"""


def test_a_line_in_a_crontab_runs_as_cron_runs_it_and_enqueues_once(shop: Shop) -> None:
    crontab = shop.folder / "crontab"
    (shop.folder / "shop" / "schedules.py").write_text(SCHEDULES)
    options = {"path": str(crontab), "directory": str(shop.folder)}
    shop.settings["SHOP_TASKYARD"] = json.dumps({"SCHEDULE_TARGETS": {"crontab": options}})
    done = shop.run("sync_schedules", "--backend=crontab", program=("manage.py",))
    assert (done.returncode, done.stdout) == (0, "add      add 100% of them  (new)\n"), done.stderr
    [line] = [line for line in crontab.read_text().splitlines() if line.startswith("0 0 * * * ")]
    bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": shop.environment()["PYTHONPATH"], **shop.settings}
    # Up to a percent sign without a backslash; cron takes the backslashes away.
    command = line.split(None, 5)[5].replace(r"\%", "%")
    said = [subprocess.check_output(["/bin/sh", "-c", command], env=bare, text=True, cwd="/") for _ in range(2)]
    assert said[0].startswith("Job ")
    assert said[1] == "Nothing is due that is not decided already.\n"
    assert shop.row(said[0].removeprefix("Job ").rstrip(".\n"))["task"] == "shop.add"
