"""What the examples' ``show.py`` have in common: a database of their own, a real worker, waiting for what must come."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

SERVER = "postgresql://postgres@127.0.0.1:5432/postgres"


@contextmanager
def project(folder: Path, settings: str) -> Iterator[None]:
    """Django, set up for the project in that folder, here and in the processes that are started."""
    sys.path.insert(0, str(folder))
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    import django
    from django.db import connections

    django.setup()
    try:
        yield
    finally:
        connections.close_all()


@contextmanager
def postgres_database(name: str) -> Iterator[None]:
    """A fresh one on the server of ``DATABASE_URL``, named to Django by it; those named ``name_...`` go with it."""
    import psycopg
    from psycopg import sql

    server = urlsplit(os.environ.get("DATABASE_URL", SERVER))
    try:
        connection = psycopg.connect(server.geturl(), autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise SystemExit(
            f"This example needs PostgreSQL; set DATABASE_URL, for example to {SERVER}.\n{error}"
        ) from None
    with connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        os.environ["DATABASE_URL"] = server._replace(path=f"/{name}").geturl()
        try:
            yield
        finally:
            found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [name])
            for (made,) in found.fetchall():
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made)))


@contextmanager
def worker(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real one, as ``python -m taskyard worker -c 2`` or the given command starts it; what it says is shown if
    something goes wrong."""
    words = command or ("-m", "taskyard", "worker", "-c", "2", "-l", "warning")
    with TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=log, stderr=log)
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace"))
            raise
        finally:
            process.terminate()
            process.wait(30)


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait for that, or end with a sentence."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited {seconds:.0f} s for this: {what}.")
        time.sleep(0.05)
