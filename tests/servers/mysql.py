"""MariaDB or MySQL, reached through PyMySQL, which needs no compiler."""

import shutil
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.servers.process import PrivateServer, ServerMissing, unprivileged_user

#: What it commits outlives the server, and need not outlive the machine.
HASTE = ("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=0", "--innodb-flush-method=nosync")


class PrivateMariaDB(PrivateServer):
    name = "mysql"

    def __init__(self, server: str, installer: str) -> None:
        super().__init__(user=unprivileged_user("mysql"))
        self.server = server
        self.installer = installer

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/"

    def prepare(self) -> None:
        self.run(
            self.installer,
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> list[str]:
        return [
            self.server,
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.data}/socket",
            f"--pid-file={self.data}/pid",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4",
            *(HASTE if self.is_hasty else ()),
        ]

    def is_ready(self) -> bool:
        return answers(self.url)


def install_driver() -> None:
    """Let Django's MySQL backend use PyMySQL; it asks for mysqlclient by name and version."""
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.__version__ = "2.2.7"
    pymysql.install_as_MySQLdb()


def _connect(url: str) -> Any:
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        connect_timeout=3,
        autocommit=True,
    )


def answers(url: str) -> bool:
    import pymysql

    try:
        _connect(url).close()
    except (pymysql.MySQLError, OSError):
        return False
    return True


def from_machine() -> PrivateServer:
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")
    installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
    if server is None or installer is None:
        raise ServerMissing("no mariadbd and mariadb-install-db on PATH")
    return PrivateMariaDB(server, installer)


def from_package() -> PrivateServer:
    raise ServerMissing("no package on the index ships MariaDB")


def execute(url: str, statement: str) -> None:
    connection = _connect(url)
    try:
        connection.cursor().execute(statement)
    finally:
        connection.close()


def create_database(url: str, name: str) -> None:
    execute(url, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")


def drop_database(url: str, name: str) -> None:
    execute(url, f"DROP DATABASE IF EXISTS `{name}`")
