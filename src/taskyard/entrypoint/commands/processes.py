"""``taskyard worker``, ``scheduler`` and ``up``: what runs until it is told to stop."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import threading
from importlib.util import find_spec
from typing import Any

import click  # Celery's own command line is made of it

from taskyard.entrypoint import parents
from taskyard.entrypoint.failures import Exit, UsageError, check_migrated
from taskyard.entrypoint.screen import Screen

#: What `up` adds to a worker's own grace: Celery's pool needs a moment to end.
_SLACK_SECONDS = 10.0
#: How much workers log, apart from Django's LOGGING.
_LEVEL = "CELERY_LOGGING_LEVEL"


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    up = subparsers.add_parser("up", help="everything in one terminal: web, workers, agents")
    up.add_argument("--no-web", action="store_true", help="no web server")
    up.add_argument("--port", type=int, default=8000, help="of the web server (default 8000)")
    up.add_argument("--workers", nargs="+", default=[], metavar="QUEUES[:SLOTS]",
                    help="one worker for each, e.g. high,medium:4 low:1 (default: one for all queues)")  # fmt: skip
    up.set_defaults(run=run_up)
    worker = subparsers.add_parser("worker", help="a worker; options it does not name go to Celery's worker",
                                   allow_abbrev=False)  # fmt: skip
    worker.add_argument("-Q", "--queues", default="", help="logical names, separated by commas (default: all)")
    worker.add_argument("-c", "--concurrency", type=int, default=None, metavar="N", help="jobs at once")
    worker.add_argument("-P", "--pool", default="", help="prefork (default), threads or solo")
    worker.add_argument("-n", "--hostname", default="", metavar="NAME", help="its name; two workers need two names")
    worker.add_argument("-l", "--loglevel", default="", metavar="LEVEL",
                        help="how much it logs (default CELERY_LOGGING_LEVEL, or warning)")  # fmt: skip
    worker.add_argument("-q", "--quiet", action="store_true", help="without Celery's banner")
    worker.set_defaults(run=run_worker, takes_rest=True)
    scheduler = subparsers.add_parser("scheduler", help="the agents alone: feeder, rescuer, pruner, scheduler")
    scheduler.set_defaults(run=run_scheduler)


def run_worker(options: argparse.Namespace, screen: Screen) -> int:
    """Become a worker; ends at SIGTERM after the jobs it runs, or gives them back after the grace period."""
    from taskyard.celery import get_app
    from taskyard.entrypoint.commands.limits import check_names
    from taskyard.settings import get_settings

    queues = [name for name in options.queues.split(",") if name] or list(get_settings().queues)
    check_names(queues)
    check_migrated()
    parents.watch_supervisor()
    given = {
        "--queues": ",".join(queues),
        "--concurrency": str(options.concurrency or ""),
        "--pool": options.pool,
        "--hostname": options.hostname,
        "--loglevel": options.loglevel or _logging_level(),
    }
    quiet = ["--quiet"] if options.quiet else []
    words = [f"{name}={value}" for name, value in given.items() if value]
    rest = [word for word in options.rest if word != "--"]
    try:
        return get_app().start([*quiet, "worker", *words, *rest]) or Exit.OK
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except click.ClickException as error:
        raise UsageError(f"worker: {error.format_message()}") from error


def run_scheduler(options: argparse.Namespace, screen: Screen) -> int:
    """Run the agents until SIGTERM or SIGINT."""
    from taskyard.celery.agents import build_agents
    from taskyard.entrypoint.commands.tasks import discover
    from taskyard.runtime import identity
    from taskyard.runtime.heartbeat import SchedulerHeartbeat
    from taskyard.runtime.loop import Loop, stop_all

    check_migrated()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    parents.watch_supervisor()
    # Schedules name tasks.
    discover()
    owner = identity.worker_id()
    agents = build_agents(owner)
    heartbeat = SchedulerHeartbeat(owner, name=f"scheduler@{socket.gethostname()}")
    loops = [Loop(agent) for agent in (*agents, heartbeat)]
    for loop in loops:
        loop.start()
    screen.line(f"scheduler ready: {', '.join(agent.name for agent in agents)} (pid {os.getpid()})")
    # With a timeout, because a wait without one is not interrupted by signals on every platform.
    while not stop.wait(60.0):
        continue
    stop_all(loops)
    screen.line("scheduler stopped")
    return Exit.OK


def run_up(options: argparse.Namespace, screen: Screen) -> int:
    """Start everything, and stop everything when one part ends."""
    from taskyard.entrypoint.supervisor import Part, Supervisor
    from taskyard.settings import get_settings

    workers = [Part(name, command) for name, command in _worker_commands(options.workers)]
    check_migrated()
    parts = [] if options.no_web else [Part("web", _web_command(options.port, screen))]
    parts += workers
    if not get_settings().agents:
        parts.append(Part("scheduler", _own("scheduler")))
    grace = get_settings().shutdown_grace.total_seconds() + _SLACK_SECONDS
    return Supervisor(parts, screen, grace_seconds=grace).run()


def _own(*arguments: str) -> list[str]:
    from taskyard.entrypoint import project

    return project.own_command(*arguments)


def _logging_level() -> str:
    from django.conf import settings

    return str(getattr(settings, _LEVEL, None) or "")


def _worker_commands(workers: list[str]) -> list[tuple[str, list[str]]]:
    from taskyard.entrypoint.commands.limits import check_names

    # That they are ready and what they run, without Celery's banner.
    talk = ("--quiet", "-l", _logging_level() or "info")
    if not workers:
        return [("worker", _own("worker", *talk))]
    commands = []
    for place, text in enumerate(workers, 1):
        match = re.fullmatch(r"([^:\s]+?)(?::(\d+))?", text)
        if match is None or match[2] == "0":
            raise UsageError(f"--workers {text!r}: write QUEUES or QUEUES:SLOTS, for example high,medium:4")
        check_names(match[1].split(","))
        slots = ["-c", match[2]] if match[2] else []
        name = f"worker{place}"
        commands.append((name, _own("worker", *talk, "-Q", match[1], *slots, "-n", f"{name}@%h")))
    return commands


def _web_command(port: int, screen: Screen) -> list[str]:
    from django.conf import settings

    from taskyard.entrypoint import project

    address = f"127.0.0.1:{port}"
    if settings.DEBUG:
        return project.django_command("runserver", address)
    for module, setting in (("uvicorn", "ASGI_APPLICATION"), ("gunicorn", "WSGI_APPLICATION")):
        target = _application(getattr(settings, setting, None))
        if target and find_spec(module):
            return project.module_command(module, *_server_arguments(module, target, port))
    screen.note(
        "up: neither uvicorn nor gunicorn is installed and configured; using runserver, which is not for production"
    )
    return project.django_command("runserver", "--noreload", address)


def _application(dotted: str | None) -> str:
    module, _, name = (dotted or "").rpartition(".")
    return f"{module}:{name}" if module else ""


def _server_arguments(module: str, target: str, port: int) -> list[str]:
    if module == "uvicorn":
        return [target, "--host", "0.0.0.0", "--port", str(port)]
    return [target, "--bind", f"0.0.0.0:{port}"]
