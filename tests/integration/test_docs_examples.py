"""The examples of the README and of docs/ run as they stand: blocks marked ``python run``, page by page."""

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python run\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield text.count("\n", 0, match.start(1)), match[1]


WITH_EXAMPLES = [page for page in PAGES if any(blocks(page))]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.django_db(transaction=True)
def test_the_examples_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.conf.settings.CELERY_TASK_ALWAYS_EAGER", True, raising=False)
    module = types.ModuleType(f"{page.stem.lower()}_page.tasks")
    # Pages write tasks into tasks.py of an app and import them from there.
    monkeypatch.setitem(sys.modules, "orders", types.ModuleType("orders"))
    monkeypatch.setitem(sys.modules, "orders.tasks", module)

    for line, code in blocks(page):
        # Empty lines put errors on the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), module.__dict__)


def test_pages_have_examples() -> None:
    assert {page.stem for page in WITH_EXAMPLES} >= {"README", "quickstart", "tasks", "celery"}
