"""The table of settings in docs/operations.md, made from the comments in src/taskyard/settings.py.

Run it with ``--write`` after a change of the settings; tests/architecture/test_docs.py compares.
"""

import ast
import dataclasses
import datetime as dt
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "taskyard" / "settings.py"
PAGE = ROOT / "docs" / "operations.md"
BETWEEN = re.compile(r"(<!-- settings: [^\n]*-->\n)(.*?)(<!-- end of settings -->)", re.DOTALL)
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))


def comments() -> Iterator[tuple[str, str]]:
    """Each field of ``Settings`` with the ``#:`` lines above it."""
    lines = SOURCE.read_text(encoding="utf-8").splitlines()
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above: list[str] = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.strip().startswith("#:"):
                    break
                above.insert(0, line.strip().removeprefix("#:").strip())
            yield node.target.id, " ".join(above)


def shown(value: Any) -> str:
    """A default as a person writes it."""
    if isinstance(value, tuple) and value and all(isinstance(one, str) for one in value):
        return ", ".join(f'`"{one}"`' for one in value)
    if value == dt.timedelta(0):
        return "0"
    if isinstance(value, dt.timedelta):
        unit, name = next(pair for pair in _UNITS if value.total_seconds() >= pair[0])
        return f"{value.total_seconds() / unit:g} {name}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return (
        f"`{value!r}`" if isinstance(value, bool) else f'`"{value}"`' if value and isinstance(value, str) else "empty"
    )


def table() -> str:
    """The table as Markdown."""
    sys.path.insert(0, str(ROOT / "src"))
    from taskyard.settings import Settings

    defaults = Settings()
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    explained = dict(comments())
    for field in dataclasses.fields(Settings):
        meaning = explained[field.name].replace("``", "`").replace("|", "\\|")
        rows.append(f"| `{field.name.upper()}` | {shown(getattr(defaults, field.name))} | {meaning} |")
    return "\n".join(rows) + "\n"


def page_with(rows: str) -> str:
    """The page with the table replaced."""
    return BETWEEN.sub(lambda match: match[1] + rows + match[3], PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page_with(table()), encoding="utf-8")
    else:
        print(table(), end="")
