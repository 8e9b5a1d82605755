"""Passwords of broker and database, signing keys and arguments: in nothing that anybody prints or sends."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connections

from taskyard.models import Job
from tests import servers
from tests.brokers import events_of, outside
from tests.servers import wait_until
from tests.servers.redis import PrivateRedis
from tests.workers import Project, wait_for_state

CANARY = "Canary-" + uuid.uuid4().hex
KEY = f"{CANARY}-signing-key-{'k' * 20}"


class RedisWithPassword(PrivateRedis):
    """A private Redis that asks for the canary."""

    def command(self) -> list[str]:
        return [*super().command(), "--requirepass", CANARY]

    @property
    def url(self) -> str:
        return f"redis://:{CANARY}@127.0.0.1:{self.port}/0"


@contextmanager
def redis_with_password() -> Iterator[str]:
    with RedisWithPassword(servers.private_redis().binary) as server:
        yield server.url


@contextmanager
def rabbitmq_with_password() -> Iterator[str]:
    with servers.fresh_vhost() as address:
        from tests.servers.rabbitmq import _administer

        parts, user = urlsplit(address), f"taskyard-{uuid.uuid4().hex[:8]}"
        _administer("add_user", user, CANARY)
        try:
            _administer("set_permissions", "-p", parts.path[1:], user, ".*", ".*", ".*")
            yield parts._replace(netloc=f"{user}:{CANARY}@{parts.hostname}:{parts.port}").geturl()
        finally:
            _administer("delete_user", user)


#: A user of RabbitMQ takes its command line longer than the rest of the test.
RABBITMQ = pytest.param(rabbitmq_with_password, id="rabbitmq", marks=[pytest.mark.verify, pytest.mark.timeout(300)])


@pytest.fixture(params=[pytest.param(redis_with_password, id="redis"), RABBITMQ])
def guarded(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    with request.param() as address:
        project.broker_url = address
        # Remote control tells everybody what a worker is configured with.
        project.taskyard = {"SIGNING_KEYS": [KEY]}
        project.celery = {"WORKER_ENABLE_REMOTE_CONTROL": True, "WORKER_SEND_TASK_EVENTS": True}
        yield project


SAY_EVERYTHING = """
import sys, json, django
from django.core.management import call_command
from taskyard.settings import get_settings
from taskyard.celery import get_app
for words in (["doctor"], ["doctor", "--json"], ["status"], ["jobs", "list"], ["queues", "list"], ["tasks", "list"]):
    try:
        call_command("taskyard", *words)
    except SystemExit as error:
        print("exit", error.code)
    except Exception as error:
        print(type(error).__name__, error)
print(get_settings(), repr(get_settings()))
app = get_app()
print(app.connection_for_write().as_uri(), app.connection_for_write(), repr(app.connection_for_read()))
for name, answer in (("stats", app.control.inspect(timeout=3).stats()), ("conf", app.control.inspect(timeout=3).conf()),
                     ("report", app.control.inspect(timeout=3).report()), ("active", app.control.inspect().active())):
    print(name, json.dumps(answer, default=str))
"""


def test_passwords_and_keys_stand_in_no_log_no_answer_and_no_event(guarded: Project) -> None:
    with outside(guarded.broker_url) as listener, events_of(listener) as seen:
        worker = guarded.start_worker("-c", "1", "-l", "debug", "-E")
        job_id = guarded.run_python("from tests.app import tasks; print(tasks.nothing.enqueue().id)").split()[0]
        wait_for_state(job_id, "succeeded", 30)
        said = guarded.run_python(SAY_EVERYTHING, timeout=90)
        wait_until(lambda: any(event["type"] == "task-succeeded" for event in seen), 30, "events came")
    assert "stats" in said and '"broker"' in said
    address = guarded.broker_url
    # A password that is wrong, and a server that is not there.
    guarded.broker_url = address.replace(CANARY, f"{CANARY}-wrong")
    said += guarded.run_python(SAY_EVERYTHING.partition("for name, answer")[0], timeout=90)
    refused = guarded.start_worker("-c", "1", wait=False)
    wait_until(lambda: "onnect" in refused.output() or refused.process.poll() is not None, 40, "it is refused")
    guarded.broker_url = f"{urlsplit(address).scheme}://user:{CANARY}@127.0.0.1:1//"
    said += guarded.run_python(SAY_EVERYTHING.partition("for name, answer")[0], timeout=90)
    lost = guarded.start_worker("-c", "1", wait=False)
    wait_until(lambda: "Cannot connect" in lost.output() or lost.process.poll() is not None, 40, "it cannot connect")

    everything = "\n".join((said, worker.output(), refused.output(), lost.output(), repr(seen)))
    assert CANARY not in everything, everything[max(0, everything.find(CANARY) - 500) :][:1000]
    stored = [Job.objects.values().get(id=job_id)]
    assert CANARY not in repr(stored)


def test_the_databases_password_stands_nowhere(tmp_path: Path) -> None:
    address = servers.require("postgres")
    role = f"taskyard_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'")
    try:
        with servers.fresh_database("postgres", address) as database:
            with psycopg.connect(address, autocommit=True) as admin:
                admin.execute(f'ALTER DATABASE "{urlsplit(database).path[1:]}" OWNER TO {role}')
            said = _say_with_database(tmp_path, database, role)
    finally:
        with psycopg.connect(address, autocommit=True) as admin:
            admin.execute(f"DROP ROLE {role}")
    assert "all applied" in said
    assert said.count("exit") >= 2, "the wrong port and the wrong database were tried"
    assert CANARY not in said, said[max(0, said.find(CANARY) - 500) :][:1000]


def _say_with_database(folder: Path, database: str, role: str) -> str:
    parts = urlsplit(database)
    code = """
from django.core.management import call_command
from django.db import connections
from taskyard.celery import get_app
call_command("migrate", verbosity=0)
def say():
    for words in (["doctor"], ["status"], ["doctor", "--json"]):
        try:
            call_command("taskyard", *words)
        except SystemExit as error:
            print("exit", error.code)
        except Exception as error:
            print("exit", type(error).__name__, error)
say()
for change in ({"PORT": 1}, {"NAME": "nobody's"}):
    connections["default"].close()
    connections["default"].settings_dict.update(change)
    say()
"""
    project = Project(folder)
    given = {
        "DJANGO_SETTINGS_MODULE": "canary_settings", "PYTHONPATH": str(folder),
        "CANARY_DATABASE": f"{role}:{CANARY}:{parts.hostname}:{parts.port}:{parts.path[1:]}",
    }  # fmt: skip
    (folder / "canary_settings.py").write_text(
        "import os\nfrom tests.settings import *\n"
        "USER, PASSWORD, HOST, PORT, NAME = os.environ['CANARY_DATABASE'].split(':')\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'USER': USER, 'PASSWORD': PASSWORD,\n"
        "             'HOST': HOST, 'PORT': PORT, 'NAME': NAME}}\n"
    )

    begin = f"import sys; sys.path[:0] = ['.', {str(folder)!r}]"
    done = subprocess.run(
        [sys.executable, "-c", f"{begin}\nimport django; django.setup()\n{code}"],
        env={**project.environment(), **given}, text=True, capture_output=True, timeout=100, check=False,
        cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_arguments_stand_in_no_line_of_ours_and_in_no_event(project_on: Project) -> None:
    project_on.celery = {"TASK_SEND_SENT_EVENT": True}
    url = project_on.broker_url
    worker = project_on.start_worker("-c", "1", "-E")
    secret = f"secret-{uuid.uuid4().hex}"
    code = (
        "from tests.app import tasks, plain\n"
        f"print(tasks.say_for.enqueue(word='{secret}').id, tasks.boom.delay('{secret}').id)\n"
        f"print(plain.about.apply_async(headers={{'colour': '{secret}'}}).id)\n"
    )
    if url:
        with outside(url) as listener, events_of(listener) as seen:
            ids = project_on.run_python(code).split()
            for job_id in ids:
                wait_for_state(job_id, lambda state: state in ("succeeded", "failed"), 30)
            wait_until(lambda: sum(e["type"] == "task-received" for e in seen) >= 3, 30, "events came")
        told = [e for e in seen if e["type"] in ("task-sent", "task-received", "task-started", "task-failed")]
        assert told and secret not in repr(told)
    else:
        for job_id in project_on.run_python(code).split():
            wait_for_state(job_id, lambda state: state in ("succeeded", "failed"), 30)
        connections.close_all()
    # What a task returned is Celery's own line; it is not asked for here.
    ours = [line for line in worker.output().splitlines() if " succeeded in " not in line]
    assert secret not in "\n".join(ours)
