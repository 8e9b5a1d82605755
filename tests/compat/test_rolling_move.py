"""A project moves over worker by worker: both kinds run each other's messages, each for its tenant."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.compat.processes import project, run, worker
from tests.servers import wait_until

SETUP = "import django; django.setup()"
MAKE_TENANTS = f"""{SETUP}
from test_app.shared.models import Client
for name in ("acme", "globex"):
    Client(name=name, schema_name=name).save(verbosity=0)
"""
#: The old package's own calls, with a header and, as before its version 4, with an argument.
SEND_BEFORE = f"""{SETUP}
from moving.before import app
app.set_default()
from moving.tasks import where, write
from django_tenants.utils import schema_context
for name in ("acme", "globex"):
    with schema_context(name):
        write.delay(text="from before")
where.delay()
from celery import Celery
plain = Celery("ancient", broker=app.conf.broker_url, set_as_current=False)
plain.send_task("moving.write", kwargs={{"text": "from long before", "_schema_name": "globex"}})
plain.send_task("moving.write", kwargs={{"text": "from nowhere"}}, headers={{"_schema_name": "deleted"}})
"""
SEND_AFTER = f"""{SETUP}
from moving.after import app
from moving.tasks import write
from taskyard.tenancy import tenant_context
for name in ("acme", "globex"):
    with tenant_context(name):
        write.apply_async(kwargs={{"text": "from after"}}, queue="not-moved", headers={{"_all_tenants_only": True}})
"""


class Database:
    def __init__(self, environment: dict[str, str]) -> None:
        of = json.loads(environment["COMPAT_DATABASE"])
        names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
        given = {name: of.get(key) for name, key in names.items()}
        self.connection = psycopg.connect(**{name: value for name, value in given.items() if value}, autocommit=True)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement).fetchall()

    def written(self, tenant: str) -> list[str]:
        return sorted(text for (text,) in self.rows(f'SELECT name FROM "{tenant}".tenant_dummymodel'))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_both_kinds_of_process_run_each_others_messages(tmp_path: Path) -> None:
    with project(tmp_path) as environment:
        before = {**environment, "DJANGO_SETTINGS_MODULE": "moving.settings_before"}
        after = {**environment, "DJANGO_SETTINGS_MODULE": "moving.settings_after"}
        run(["-c", MAKE_TENANTS], tmp_path, after)
        database = Database(environment)
        with (
            worker(tmp_path, after, "moving.after:app"),
            worker(tmp_path, before, "moving.before:app", "-Q", "not-moved"),
        ):
            run(["-c", SEND_BEFORE], tmp_path, before)
            run(["-c", SEND_AFTER], tmp_path, after)
            wanted = {
                "acme": ["acme: from after", "acme: from before"],
                "globex": ["globex: from after", "globex: from before", "globex: from long before"],
            }
            ended = "SELECT count(*) FROM taskyard_job WHERE state IN ('succeeded', 'failed')"
            wait_until(lambda: database.rows(ended) == [(7,)], 40, "all have ended")
            wait_until(lambda: {name: database.written(name) for name in wanted} == wanted, 20, "all have been run")
        jobs = database.rows(
            "SELECT task, tenant, state, result FROM taskyard_job WHERE queue <> 'not-moved' ORDER BY 1, 2"
        )
        database.connection.close()
    assert jobs == [
        ("moving.where", "", "succeeded", '"public"'),
        ("moving.write", "acme", "succeeded", "null"),
        ("moving.write", "deleted", "failed", None),
        ("moving.write", "globex", "succeeded", "null"),
        ("moving.write", "globex", "succeeded", "null"),
    ]
