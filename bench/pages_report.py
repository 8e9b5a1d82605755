"""PAGES.md: how long each page took, and on what that was measured."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

#: What is promised at the 95th percentile.
MOST_MS = 300
FILE = Path(__file__).parent / "PAGES.md"


def save(found: dict[str, dict[str, Any]], options: argparse.Namespace, about: dict[str, Any]) -> None:
    """Write the table anew; ``about``: :func:`~bench.results.circumstances` before the first request."""
    machine, versions = about["machine"], about["versions"]
    # Where a kept database was is of no interest: rows are the same in every one.
    command = re.sub(r" --url \S+", "", " ".join(["python -m bench.pages", *sys.argv[1:]]))
    slowest = max(found, key=lambda page: float(found[page]["p95_ms"]))
    worst = found[slowest]["p95_ms"]
    words = [
        "# Pages on very many rows", "",
        f"Made by `make bench-pages`: {options.rows:,} jobs of {options.tenants:,} tenants, of which"
        f" {options.failures:,} stand failed and {options.backlog:,} wait, in PostgreSQL; each page was asked for"
        f" {options.requests:,} times through HTTP, one request at a time. Slowest at the 95th percentile:"
        f" `{slowest}`, {worst:.0f} ms ({'at most' if worst <= MOST_MS else 'more than'} the {MOST_MS} ms that must"
        " hold).", "",
        "| page | p50 ms | p95 ms | max ms |", "|---|---:|---:|---:|",
        *(
            f"| `{page}` | {figures['p50_ms']:.0f} | {figures['p95_ms']:.0f} | {figures['max_ms']:.0f} |"
            for page, figures in found.items()
        ),
        "",
        f"<sub>{about['when']}, commit {about['commit']}: `{command}`. {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_gb']} GB, {machine['system']}, load {machine['load_before']} before the start."
        f" Django {versions['Django']}, PostgreSQL {versions['PostgreSQL']}, Python {versions['Python']}.</sub>", "",
    ]  # fmt: skip
    FILE.write_text("\n".join(words), encoding="utf-8")
