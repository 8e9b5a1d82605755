"""``taskyard crontab``: the lines of crontab files, and what is wrong with them."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Any

from taskyard.entrypoint.arguments import add_json
from taskyard.entrypoint.failures import Exit
from taskyard.entrypoint.screen import Screen, ago


def add_to(subparsers: Any) -> None:
    """Declare the commands."""
    parser = subparsers.add_parser("crontab", help="list and check the lines of crontab files")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="every line that runs, with its file and when it is due next")
    add_json(listing)
    listing.set_defaults(run=list_lines)
    check = verbs.add_parser("check", help="read the files and name what cannot be read; 1 if anything")
    check.add_argument("files", nargs="*", type=Path, metavar="FILE", help="these files (default: all that are active)")
    add_json(check)
    check.set_defaults(run=check_files)


def list_lines(options: argparse.Namespace, screen: Screen) -> int:
    """List them; 1 if there is none."""
    from taskyard.schedules.models import Schedule
    from taskyard.schedules.sources.crontab.files import current

    _, reading = current()
    rows = {row.name: row for row in Schedule.objects.filter(tenant="", name__in=list(reading.entries))}
    now = dt.datetime.now(dt.UTC)
    lines = [_document(entry, rows.get(name), now) for name, entry in reading.entries.items()]
    if options.json:
        screen.json(lines)
    elif lines:
        screen.table(("NAME", "STATE", "NEXT", "WHEN", "ZONE", "COMMAND", "FILE"), [
            (line["name"], line["state"], ago(line["next_at"], now), line["expression"], line["timezone"],
             line["command"], f"{line['file']}:{line['line']}")
            for line in lines
        ])  # fmt: skip
    else:
        screen.note("No line: TASKYARD['CRONTABS'] names the files, and CRONTAB_PLUGINS the plugins that are active.")
    if reading.problems and not options.json:
        screen.note(f"{_counted(len(reading.problems), 'line')} cannot be read: taskyard crontab check")
    return Exit.OK if lines else Exit.WRONG


def check_files(options: argparse.Namespace, screen: Screen) -> int:
    """Check them; 1 if a line cannot be read, or there is no file."""
    from taskyard.schedules.sources.crontab.files import Source, current, read

    if options.files:
        reading = read([Source(path) for path in options.files])
    else:
        _, reading = current()
    if options.json:
        screen.json({"files": reading.files, "lines": len(reading.entries), "problems": reading.problems})
    else:
        for problem in reading.problems:
            screen.line(str(problem))
        lines, files = _counted(len(reading.entries), "line"), _counted(len(reading.files), "file")
        screen.line(f"{lines} in {files} can be run, {len(reading.problems)} cannot.")
    return Exit.OK if reading.files and not reading.problems else Exit.WRONG


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _document(entry: Any, row: Any, now: dt.datetime) -> dict[str, Any]:
    from taskyard.entrypoint.commands.schedules import state_of
    from taskyard.schedules.sources.crontab.follow import CRONTAB

    line = entry.line
    state = "not seen yet" if row is None else "in the way" if row.origin != CRONTAB else state_of(row, now)
    is_ours = row is not None and row.origin == CRONTAB
    return {
        "name": entry.name, "state": state, "next_at": row.next_at if is_ours else None,
        "expression": line.recurrence.expression, "timezone": line.recurrence.timezone, "command": line.text,
        "plugin": entry.source.plugin, "for_each_tenant": line.options.for_each_tenant,
        "file": str(entry.source.path), "line": line.number,
    }  # fmt: skip
