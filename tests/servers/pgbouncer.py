"""PgBouncer in transaction mode before a PostgreSQL server."""

import os
import shutil
import subprocess
from urllib.parse import unquote, urlsplit

from tests.servers.postgres import answers
from tests.servers.process import PrivateServer, ServerMissing, unprivileged_user

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user} {password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
server_lifetime = 600
ignore_startup_parameters = extra_float_digits
"""


class PrivatePgBouncer(PrivateServer):
    name = "pgbouncer"

    def __init__(self, binary: str, target: str) -> None:
        super().__init__(user=unprivileged_user("postgres"))
        self.binary = binary
        self.target = urlsplit(target)

    @property
    def url(self) -> str:
        return (
            f"postgresql://{self.target.username or 'postgres'}@127.0.0.1:{self.port}{self.target.path or '/postgres'}"
        )

    def prepare(self) -> None:
        file = self.data / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                host=self.target.hostname or "127.0.0.1",
                port=self.target.port or 5432,
                user=unquote(self.target.username or "postgres"),
                password=f"password={unquote(self.target.password)}" if self.target.password else "",
                listen_port=self.port,
            )
        )
        if self.user:
            shutil.chown(file, self.user)

    def command(self) -> list[str]:
        return [self.binary, str(self.data / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        return answers(self.url)


def find_binary() -> str:
    for attempt in (lambda: None, _install):
        attempt()
        binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
        if binary:
            return binary
    raise ServerMissing("no pgbouncer on this machine (Debian: apt-get install pgbouncer)")


def _install() -> None:
    """Only as root, where Debian's installer works: in a container or on a CI machine, that is."""
    apt = shutil.which("apt-get")
    if os.geteuid() != 0 or apt is None:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        [apt, "install", "-y", "-q", "pgbouncer"], env=environment, capture_output=True, timeout=180, check=False
    )
