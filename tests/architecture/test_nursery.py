"""What the nursery starts is what `python` would have started: nobody can tell but by the price."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import nursery
from tests.servers import wait_until

TELL = """
import atexit, json, os, signal, sys, threading
atexit.register(print, "the end")
print(json.dumps({
    "argv": sys.argv, "path": sys.path[:3], "folder": os.getcwd(), "environment": dict(os.environ), "name": __name__,
    "session": os.getsid(0) == os.getpid(), "input": sys.stdin.read(), "tty": sys.stdout.isatty(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)],
    "files": sorted(os.listdir("/proc/self/fd")), "threads": threading.active_count(),
    "main": sorted(vars(sys.modules["__main__"]))[-4:],
    "settings": "django.conf" in sys.modules and sys.modules["django.conf"].settings.configured,
    "ours": [name for name in sys.modules if name.partition(".")[0] in ("taskyard", "tests")],
}))
print("to the errors", file=sys.stderr)
sys.exit(7)
"""


def cold(words: list[str], env: dict[str, str], cwd: Path) -> Any:
    return subprocess.run(
        [sys.executable, *words], env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, start_new_session=True,
    )  # fmt: skip


def warm(words: list[str], env: dict[str, str], cwd: Path) -> Any:
    return nursery.run(words, env=env, cwd=cwd, timeout=60)


@pytest.mark.parametrize("words", [["-c", TELL, "a", "b"], ["-m", "tells", "a", "b"], ["tells.py", "a", "b"]])
def test_a_program_finds_what_it_would_find_if_it_were_started_cold(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELL)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/nowhere:/else", "LC_ALL": "C.UTF-8"}
    told = []
    for how in (cold, warm):
        done = how(words, environment, tmp_path)
        assert (done.returncode, done.stderr) == (7, "to the errors\n")
        first, last = done.stdout.splitlines()
        assert last == "the end"
        told.append(json.loads(first))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("code", "ends_with"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('a word')", 1), ("1 / 0", 1),
     ("import os; os.kill(os.getpid(), 15)", -15), ("import os; os._exit(9)", 9), ("raise KeyboardInterrupt", -2)],
)  # fmt: skip
def test_it_ends_as_it_would_cold(code: str, ends_with: int, tmp_path: Path) -> None:
    codes = [how(["-c", code], dict(os.environ), tmp_path).returncode for how in (cold, warm)]
    assert codes == [ends_with] * 2


def waits(tmp_path: Path, name: str = "began") -> Any:
    """A program that waits for a signal."""
    code = f"import signal, pathlib; pathlib.Path('{name}').touch(); signal.pause()"
    with (tmp_path / "log").open("wb") as log:
        child = nursery.start(["-c", code], env=dict(os.environ), cwd=tmp_path, stdout=log)
    wait_until((tmp_path / name).exists, 30, "it has begun")
    return child


def test_a_child_is_signalled_and_waited_for(tmp_path: Path) -> None:
    ends: list[tuple[Callable[[Any], None], int]] = [
        (lambda child: child.terminate(), -signal.SIGTERM),
        (lambda child: child.kill(), -signal.SIGKILL),
        (lambda child: os.killpg(child.pid, signal.SIGUSR1), -signal.SIGUSR1),
    ]
    for number, (end, code) in enumerate(ends):
        child = waits(tmp_path, f"began-{number}")
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        end(child)
        assert child.wait(20) == child.poll() == child.returncode == code
        # As with any process that has ended: nobody else's is hit.
        child.kill()


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    code = "import os, pathlib, signal; pathlib.Path('pid').write_text(str(os.getpid())); signal.pause()"
    with pytest.raises(subprocess.TimeoutExpired):
        nursery.run(["-c", code], env=dict(os.environ), cwd=tmp_path, timeout=2)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, "it is gone")


STARTS_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from tests import nursery
child = nursery.start(["-c", "import signal; signal.pause()"], env=dict(os.environ), cwd=Path.cwd(), stdout=sys.stdout)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no nursery")
def test_nothing_outlives_the_tests_that_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", STARTS_AND_IS_KILLED], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20, "it is gone")
