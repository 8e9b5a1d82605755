"""What a pool's child inherits from the process that forks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

FORK = """
import os, threading
import django
django.setup()
from django.db import connection, transaction
from taskyard.celery.attempt.connections import can_write

def fork():
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.read(ours, 1)
        os._exit(0 if can_write("default") else 7)
    return theirs

def write():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE written (n integer)")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO written VALUES (1)")
        holds.set()
        ends.wait()
    connection.close()

holds, ends = threading.Event(), threading.Event()
# As in a worker: one thread forks and has no connection, another one writes.
agent = threading.Thread(target=write)
before = fork()
agent.start()
holds.wait()
within = fork()
ends.set()
agent.join()
# Nobody holds the lock any more when the children look.
for child in (before, within):
    os.write(child, b"!")
print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)])
"""


def test_a_child_forked_while_its_parent_was_writing_to_sqlite_knows_that_it_never_can(tmp_path: Path) -> None:
    """And one that was forked at another moment can: the answers come as they are ready, the refusal last."""
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TASKYARD_TEST_DB": "sqlite", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    environment.pop("TASKYARD_TEST_RUN", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK], env=environment, capture_output=True,
        text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[0, 7]"), done.stderr


@pytest.mark.django_db(transaction=True)
def test_a_child_of_a_parent_that_does_not_write_can_write() -> None:
    from taskyard.celery.attempt.connections import can_write

    assert can_write("default")
