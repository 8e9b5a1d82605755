"""Processes that tests start: private, disposable, and ended only by the object that started them."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 15


class ServerMissing(Exception):
    """There is no such server on this machine and no way to start one; the message says what was tried."""


def wait_until(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Poll until `condition()` is true; raise TimeoutError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout} s for {what}.")
        time.sleep(0.02)


def _mount_memory(folder: Path, size_bytes: int) -> None:
    options = f"size={size_bytes},mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerMissing(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def free_port() -> int:
    """A port that nobody listens on, below those of outgoing connections: one of them must not take it meanwhile."""
    while True:
        # Not of `random`, which the tests' runner seeds alike before each test.
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def unprivileged_user(*names: str) -> str | None:
    """For servers that refuse to run as root: the first of these users that exists; None when we are not root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in (*names, "nobody"):
        if name in known:
            return name
    raise ServerMissing(f"running as root, and there is none of the users {', '.join(names)}, nobody")


class PrivateServer:
    """A server of a test's own, on a free port, with its data in a temporary folder that is removed at the end.

    Use it as a context manager. `stop` and `kill` keep the data, so `start` afterwards is a restart on the same port.
    """

    #: What it is called in messages.
    name: str
    #: The signal that ends it cleanly and soon, even with clients connected.
    stop_signal = signal.SIGTERM
    #: Set before it starts: its data has a disk of this size to itself, for a test to fill. Needs root.
    disk_bytes: int | None = None
    #: Set before it starts: commits do not wait for the disk. Nothing for measuring, nor for a machine that crashes.
    is_hasty = False

    def __init__(self, *, user: str | None = None) -> None:
        self.user = user
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None

    # what a kind of server fills in

    @property
    def url(self) -> str:
        raise NotImplementedError

    def prepare(self) -> None:
        """Called once, before the first start, when the folder exists."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def is_ready(self) -> bool:
        return accepts_connections(self.port)

    def clean_up(self) -> None:
        """Called once at the very end, after the server stopped and before its folder goes."""

    # what a test uses

    def __enter__(self) -> Self:
        try:
            self.make_folder()
            self.prepare()
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Start it, or start it again, and wait until it answers."""
        if self.is_running:
            return self
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.as_user([*self.dying_with_us(), *self.command()]),
                cwd=self.data,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(lambda: not self.is_running or self.is_ready(), START_TIMEOUT_SECONDS, f"{self.name} to start")
        except TimeoutError:
            self.kill()
            raise
        if not self.is_running:
            raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
        return self

    def stop(self) -> None:
        """End it cleanly; killed if it does not obey."""
        self.signal(signal.SIGCONT)
        self.signal(self.stop_signal)
        self.reap()

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.reap()

    def freeze(self) -> None:
        """It keeps its connections and answers nothing, until `thaw`."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        self.clean_up()
        if self.folder is not None:
            if self.disk_bytes is not None:
                subprocess.run(["umount", "--lazy", str(self.data)], capture_output=True, check=False)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    def fill_disk(self) -> None:
        """Leave not one byte of its disk free."""
        assert self.disk_bytes is not None, f"{self.name} has no disk of its own"
        with self.ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def empty_disk(self) -> None:
        """Give that room back."""
        self.ballast.unlink()

    # how it is done

    @property
    def ballast(self) -> Path:
        return self.data / "ballast"

    @property
    def data(self) -> Path:
        assert self.folder is not None, f"{self.name} has no folder: use it as a context manager"
        return self.folder / "data"

    @property
    def log(self) -> Path:
        assert self.folder is not None
        return self.folder / "log"

    def make_folder(self) -> None:
        # Below the system's temporary folder and not the user's: another user must be able to enter it.
        self.folder = Path(tempfile.mkdtemp(prefix=f"taskyard-{self.name}-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.data.mkdir(mode=0o700)
        if self.disk_bytes is not None:
            _mount_memory(self.data, self.disk_bytes)
        if self.user:
            shutil.chown(self.data, self.user)

    def as_user(self, command: list[str]) -> list[str]:
        if self.user is None:
            return command
        entry = pwd.getpwnam(self.user)
        identity = [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ServerMissing(f"{self.name} does not run as root, and setpriv is not installed")
        return [setpriv, *identity, *command]

    def dying_with_us(self) -> list[str]:
        """On Linux, should the tests be killed, so is the server."""
        setpriv = shutil.which("setpriv")
        return [setpriv, f"--pdeathsig={self.stop_signal.name[3:]}"] if setpriv else []

    def run(self, *command: str) -> None:
        """Run a preparing command as the server's user."""
        done = subprocess.run(self.as_user(list(command)), cwd=self.data, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]} for a private {self.name}: {(done.stderr or done.stdout).strip()[-500:]}")

    def signal(self, number: signal.Signals) -> None:
        # Only the child we hold and have not reaped: its id cannot have passed to somebody else.
        if self.process is not None and self.is_running:
            self.process.send_signal(number)

    def reap(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace").strip()[-800:]
