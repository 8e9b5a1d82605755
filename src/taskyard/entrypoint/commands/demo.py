"""``taskyard demo``: a project of its own, real work, real errors, nothing to set up."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path
from typing import Any

from taskyard.entrypoint.arguments import add_json, count
from taskyard.entrypoint.screen import Screen


def add_to(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("demo", help="index real files with real workers in a temporary project")
    parser.add_argument("--path", type=Path, default=None, metavar="FOLDER",
                        help="index this folder (default: the sources of Python's standard library)")  # fmt: skip
    parser.add_argument("--files", type=count, default=None, metavar="N",
                        help="at most N files (default: all; with --check 400)")  # fmt: skip
    parser.add_argument("--check", action="store_true",
                        help="unattended: kill -9 a worker midway, verify that nothing got lost")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="with --check: keep the project")
    add_json(parser)
    parser.set_defaults(run=run, needs_project=False)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Run it; 1 if anything was lost or ran twice at once."""
    from django.conf import settings

    if settings.configured:
        return _run_apart(options)
    from taskyard.entrypoint.demo.run import run_demo

    return run_demo(options, screen)


def _run_apart(options: argparse.Namespace) -> int:
    # This process is set up for the user's project; the demo is another one.
    from taskyard.entrypoint import project

    given = {"--path": options.path and options.path.resolve(), "--files": options.files}
    words = [word for name, value in given.items() if value for word in (name, str(value))]
    words += [f"--{name}" for name in ("check", "keep", "json") if getattr(options, name)]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.call(project.module_command("taskyard", "demo", *words), env=environment)
