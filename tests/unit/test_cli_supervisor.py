"""Several processes, one end: with real ones, without Django's database."""

import io
import os
import signal
import sys
import threading

import pytest

from taskyard.entrypoint.screen import Screen
from taskyard.entrypoint.supervisor import Part, Supervisor
from tests.servers.process import wait_until

FOREVER = "import threading; print('ready', flush=True); threading.Event().wait()"
STUBBORN = (
    "import signal, threading; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); threading.Event().wait()"
)


def part(name: str, code: str) -> Part:
    return Part(name, [sys.executable, "-c", code])


def supervise(*parts: Part, grace_seconds: float = 10.0) -> tuple[Supervisor, io.StringIO]:
    out = io.StringIO()
    return Supervisor(parts, Screen(out, out), grace_seconds=grace_seconds), out


def when_ready(out: io.StringIO, number: int, *signals: signal.Signals) -> None:
    """Once all parts are ready, send this process the signals, one after the other is noticed."""

    def send() -> None:
        wait_until(lambda: out.getvalue().count("ready") >= number, 30, "the parts to start")
        for place, one in enumerate(signals):
            os.kill(os.getpid(), one)
            if place == 0:
                wait_until(lambda: "stopping" in out.getvalue(), 30, "the supervisor to notice")

    threading.Thread(target=send, daemon=True).start()


def test_a_part_that_dies_is_named_and_takes_the_others_and_the_exit_code_with_it() -> None:
    dying = part("worker1", "import sys; input_ = sys.stdin.read(); sys.exit(7)")
    supervisor, out = supervise(part("web", FOREVER), dying)

    assert supervisor.run() == 7
    assert "up      | worker1 ended with exit code 7; stopping web" in out.getvalue()


def test_a_part_that_is_killed_gives_the_shells_exit_code() -> None:
    supervisor, out = supervise(part("one", "import os; os.kill(os.getpid(), 9)"))

    assert supervisor.run() == 137
    assert "ended with signal SIGKILL" in out.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_parts_warmly(number: signal.Signals) -> None:
    polite = (
        "import signal,sys,threading; signal.signal(15, lambda *_: (print('bye', flush=True), sys.exit(0)));" + FOREVER
    )
    supervisor, out = supervise(part("a", polite), part("b", polite))
    when_ready(out, 2, number)

    assert supervisor.run() == 0
    assert out.getvalue().count("bye") == 2


def test_a_second_signal_kills() -> None:
    supervisor, out = supervise(part("a", STUBBORN), grace_seconds=60.0)
    when_ready(out, 1, signal.SIGINT, signal.SIGINT)

    assert supervisor.run() == 1
    assert "killing a" in out.getvalue()


def test_a_part_that_does_not_stop_within_the_grace_is_killed() -> None:
    supervisor, out = supervise(part("a", STUBBORN), grace_seconds=0.3)
    when_ready(out, 1, signal.SIGTERM)

    assert supervisor.run() == 1
    assert "did not stop within" in out.getvalue()


def test_output_is_prefixed_line_by_line() -> None:
    supervisor, out = supervise(part("long-name", "print('one'); print('two')"))
    supervisor.run()

    assert "long-name | one\nlong-name | two\n" in out.getvalue()


def test_the_handlers_of_signals_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    supervise(part("a", ""))[0].run()

    assert signal.getsignal(signal.SIGTERM) is before
