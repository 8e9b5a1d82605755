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


UNFORKED = """
import os, threading
import django
django.setup()
from django.db import connections
from taskyard.tenancy.aliases import aliases, unforked

FILE = os.path.abspath("tenant.sqlite3")

def is_open():
    return any(os.path.realpath(f"/proc/self/fd/{fd}") == FILE for fd in os.listdir("/proc/self/fd"))

def look():
    aliases.register("tenant:acme", {"ENGINE": "django.db.backends.sqlite3", "NAME": FILE}, most=9)
    with unforked("tenant:acme"), connections["tenant:acme"].cursor() as cursor:
        cursor.execute("CREATE TABLE looked_at (n integer)")
        assert is_open()
        holds.set()
        ends.wait()

holds, ends = threading.Event(), threading.Event()
agent = threading.Thread(target=look)
agent.start()
holds.wait()
# Whoever forks waits for the look to end. Without that it forks at once, long before this.
threading.Timer(0.3, ends.set).start()
if os.fork() == 0:
    os._exit(9 if is_open() else 0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
agent.join()
"""


def _run(script: str, folder: Path) -> str:
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "TASKYARD_TEST_DB": "sqlite", "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    environment.pop("TASKYARD_TEST_RUN", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script], env=environment, capture_output=True,
        text=True, timeout=60, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_child_forked_while_its_parent_was_writing_to_sqlite_knows_that_it_never_can(tmp_path: Path) -> None:
    """And one that was forked at another moment can: the answers come as they are ready, the refusal last."""
    assert _run(FORK, tmp_path) == "[0, 7]"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to see open files in")
def test_no_child_is_forked_while_a_tenants_sqlite_file_is_open(tmp_path: Path) -> None:
    assert _run(UNFORKED, tmp_path) == "0"


@pytest.mark.django_db(transaction=True)
def test_a_child_of_a_parent_that_does_not_write_can_write() -> None:
    from taskyard.celery.attempt.connections import can_write

    assert can_write("default")
