"""The example, ready to be clicked, by one command: ``python examples/answers/show.py``.

Starts memcached, a web server, and a worker for each queue; SQLite in a folder of its own, or a database of its own on
the PostgreSQL server of ``DATABASE_URL``. Ctrl-C ends it, and nothing is left. What dies meanwhile is started again:
kill a worker, and see.
"""

import argparse
import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from showing import postgres_database, project, until  # noqa: E402

NO_MEMCACHED = """
NO MEMCACHED: each process has a cache of its own. apt-get install memcached, pip install pymemcache
"""


@contextmanager
def data() -> Iterator[Path]:
    """A folder; a database of its own where there is a PostgreSQL server."""
    with TemporaryDirectory(prefix="taskyard-answers-") as folder:
        os.environ["ANSWERS_DATA"] = folder
        if "DATABASE_URL" not in os.environ:
            yield Path(folder)
            return
        with postgres_database(f"taskyard_answers_{os.getpid()}"):
            yield Path(folder)


@contextmanager
def memcached(folder: Path) -> Iterator[None]:
    """A real one on a socket in that folder, unless ``MEMCACHED`` names another."""
    program = shutil.which("memcached")
    if "MEMCACHED" in os.environ or program is None or find_spec("pymemcache") is None:
        if "MEMCACHED" not in os.environ:
            print(NO_MEMCACHED, file=sys.stderr, flush=True)
        yield
        return
    socket = folder / "memcached.sock"
    process = subprocess.Popen([program, "-s", str(socket), "-a", "0600", "-u", getpass.getuser()])
    try:
        until(socket.exists, "memcached listens")
        os.environ["MEMCACHED"] = f"unix:{socket}"
        yield
    finally:
        process.terminate()
        process.wait(10)


class Processes:
    """The web server and the workers."""

    def __init__(self, commands: dict[str, list[str]]) -> None:
        self.commands = commands
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        self.start_missing()
        return self

    def start_missing(self) -> None:
        """All of them at first, then those that have died."""
        for name, words in self.commands.items():
            process = self.running.get(name)
            if process is not None and process.poll() is not None:
                print(f"{name}: ended with {process.returncode}, and is started again", flush=True)
            if process is None or process.returncode is not None:
                # The style sheet is served by Django's own server, which does that when it debugs.
                environment = {**os.environ, "DEBUG": "1" if name == "web" else ""}
                words = [sys.executable, "manage.py", *words]
                self.running[name] = subprocess.Popen(words, cwd=HERE, env=environment, start_new_session=True)
                print(f"{name}: process {self.running[name].pid}", flush=True)

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(40)


def commands(port: int) -> dict[str, list[str]]:
    from django.conf import settings

    found = {"web": ["runserver", "--noreload", f"127.0.0.1:{port}"]}
    for name, (queues, slots) in settings.WORKERS.items():
        found[name] = ["taskyard", "worker", "--quiet", "-Q", queues, "-c", str(slots), "-n", f"{name}@%h"]
    return found


def answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/login/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="of the web server (default 8000)")
    options = parser.parse_args()
    address = f"http://127.0.0.1:{options.port}"
    # Both end it in the same way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with data() as folder, memcached(folder), project(HERE, "config.settings"):
            serve(address, options.port)
    except KeyboardInterrupt:
        print("ended", flush=True)
    return 0


def serve(address: str, port: int) -> None:
    from django.core.management import call_command

    call_command("set_up", samples=address, password="ada", verbosity=0)
    with Processes(commands(port)) as processes:
        until(lambda: answers(address), "the web server answers")
        print(f"\n{address} is ready: log in as ada, with the password ada. Ctrl-C ends it.\n", flush=True)
        while True:
            processes.start_missing()
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
