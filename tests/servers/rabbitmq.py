"""RabbitMQ: shared, private with a node of its own, and a virtual host of one's own on the shared one."""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.servers.process import (
    PrivateServer,
    ServerMissing,
    accepts_connections,
    free_port,
    unprivileged_user,
    wait_until,
)

COMMAND_TIMEOUT_SECONDS = 60
#: So many virtual hosts are made first, then twice as many as last time, up to the second number.
VHOSTS_AT_ONCE = 2, 16


class PrivateRabbitMQ(PrivateServer):
    """A node with its own name, ports, cookie, data and port mapper: nothing of the shared broker is touched."""

    name = "rabbitmq"

    def __init__(self, scripts: Path, epmd: str) -> None:
        super().__init__(user=unprivileged_user("rabbitmq"))
        self.scripts = scripts
        self.epmd = epmd
        self.epmd_port = free_port()
        self.dist_port = free_port()
        self.mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def prepare(self) -> None:
        cookie = self.data / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        for name, text in (
            ("rabbitmq.conf", f"listeners.tcp.local = 127.0.0.1:{self.port}\n"),
            ("plugins", "[].\n"),
            ("env", ""),
        ):
            (self.data / name).write_text(text)
        if self.user:
            for file in self.data.iterdir():
                shutil.chown(file, self.user)
        self.mapper = subprocess.Popen(
            self.as_user([*self.dying_with_us(), self.epmd, "-port", str(self.epmd_port), "-address", "127.0.0.1"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: accepts_connections(self.epmd_port), 10, "epmd to start")

    def command(self) -> list[str]:
        return [str(self.scripts / "rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(self.data),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(self.data / "env"),
            "RABBITMQ_NODENAME": f"taskyard{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_CONFIG_FILE": str(self.data / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.data / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.data / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def is_ready(self) -> bool:
        return answers(self.url)

    def flush(self) -> None:
        """Lose every queue and message in it."""
        for verb in ("delete_vhost", "add_vhost"):
            self.control(verb, "/")
        self.control("set_permissions", "-p", "/", "guest", ".*", ".*", ".*")

    def delete_queue(self, name: str) -> None:
        self.control("delete_queue", name)

    def control(self, *words: str) -> str:
        done = subprocess.run(
            self.as_user([str(self.scripts / "rabbitmqctl"), "--quiet", *words]),
            cwd=self.data,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(words)}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def evaluate(self, expressions: str) -> str:
        """Run Erlang in the node; what came out. A twentieth of a second, where `control` starts a machine first."""
        caller = shutil.which("erl_call") or next(map(str, Path("/usr/lib/erlang").glob("lib/*/bin/erl_call")), None)
        if caller is None:
            return self.control("eval", f"{expressions}.")
        environment = self.environment()
        cookie = (self.data / ".erlang.cookie").read_text()
        done = subprocess.run(
            [caller, "-sname", environment["RABBITMQ_NODENAME"], "-c", cookie, "-e"],
            input=f"{expressions}.\n",
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode or not done.stdout.startswith("{ok"):
            raise RuntimeError(f"{expressions}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def signal(self, number: signal.Signals) -> None:
        # The start script may stay as the parent of the Erlang machine: the session we made for them gets the signal.
        if self.process is not None and self.is_running:
            os.killpg(self.process.pid, number)

    def clean_up(self) -> None:
        if self.mapper is not None:
            self.mapper.kill()
            self.mapper.wait()
            self.mapper = None


def answers(url: str) -> bool:
    from amqp import Connection
    from amqp.exceptions import AMQPError

    parts = urlsplit(url)
    connection = Connection(
        host=f"{parts.hostname}:{parts.port or 5672}",
        userid=parts.username or "guest",
        password=parts.password or "guest",
        virtual_host=_vhost(url),
        connect_timeout=3,
        read_timeout=5,
    )
    try:
        connection.connect()
        connection.close()
    except (TimeoutError, AMQPError, OSError):
        return False
    return True


def _vhost(url: str) -> str:
    from urllib.parse import unquote

    return unquote(urlsplit(url).path[1:]) or "/"


def from_machine() -> PrivateServer:
    # Debian's command in /usr/sbin changes user and folder by itself; the scripts it calls do as they are told.
    for folder in (Path("/usr/lib/rabbitmq/bin"), *_scripts_on_path()):
        epmd = shutil.which("epmd")
        if epmd and (folder / "rabbitmq-server").exists() and (folder / "rabbitmqctl").exists():
            return PrivateRabbitMQ(folder, epmd)
    raise ServerMissing("no rabbitmq-server with epmd on this machine")


def _scripts_on_path() -> list[Path]:
    found = shutil.which("rabbitmq-server")
    return [Path(found).resolve().parent] if found else []


def from_package() -> PrivateServer:
    raise ServerMissing("no package on the index ships RabbitMQ")


#: Virtual hosts of this process that no test has had yet, by broker, and those that a test is done with.
_fresh: dict[str, list[str]] = {}
_used: list[str] = []


@contextmanager
def own_vhost(url: str) -> Iterator[str]:
    """A virtual host of one's own on a broker of this machine that rabbitmqctl may administer."""
    parts = urlsplit(url)
    if not _fresh.get(url):
        fewest, most = VHOSTS_AT_ONCE
        _fresh[url] = _turn_over(min(most, max(fewest, 2 * len(_used))), parts.username or "guest")
    name = _fresh[url].pop()
    try:
        yield parts._replace(path=f"/{quote(name, safe='')}").geturl()
    finally:
        _used.append(name)


def _turn_over(new: int, user: str) -> list[str]:
    """Make so many and delete the used ones, all in one command: each starts an Erlang machine, for seconds."""
    names = [f"taskyard-{os.getpid()}-{secrets.token_hex(3)}" for _ in range(new)]
    everything = ", ".join(['<<".*">>'] * 3)
    _administer(
        "eval",
        f"User = {_binary(user)},"
        f"[rabbit_vhost:delete(Name, User) || Name <- [{_binaries(_used)}]],"
        "[begin rabbit_vhost:add(Name, User),"
        f" rabbit_auth_backend_internal:set_permissions(User, Name, {everything}, User) end"
        f" || Name <- [{_binaries(names)}]].",
    )
    _used.clear()
    return names


@atexit.register
def _delete_all() -> None:
    _used.extend(name for names in _fresh.values() for name in names)
    _fresh.clear()
    if _used:
        _turn_over(0, "guest")


def _binary(text: str) -> str:
    return f'<<"{text}">>'


def _binaries(names: list[str]) -> str:
    return ", ".join(map(_binary, names))


def _administer(*words: str) -> None:
    command = shutil.which("rabbitmqctl") or shutil.which("rabbitmqctl", path="/usr/sbin:/usr/local/sbin")
    if command is None:
        raise ServerMissing("no rabbitmqctl to make a virtual host with")
    done = subprocess.run(
        [command, "--quiet", *words], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False
    )
    if done.returncode:
        raise ServerMissing(f"rabbitmqctl {' '.join(words)}: {(done.stderr or done.stdout).strip()[-300:]}")
