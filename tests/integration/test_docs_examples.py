"""The examples of the README and of docs/ run as they stand: blocks marked ``python run``, page by page."""

import ast
import dataclasses
import importlib
import re
import sys
import types
import unittest
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from taskyard.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python run\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> Iterator[tuple[int, str]]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        yield text.count("\n", 0, match.start(1)), match[1]


#: What a page takes for granted.
SETTINGS = {
    "trigger": {"TRIGGER": {"KEYS": ["a key of 32 bytes or more, and secret"]}},
    "tenants": {"TENANCY": "rows"},
    "tenant-schemas-celery": {"TENANCY": "rows"},
}
#: Pages whose examples say when a job runs.
LAZY = {"testing"}
#: Pages about what an older Django does not have.
TOO_NEW = set() if find_spec("django.tasks") else {"django-tasks"}
WITH_EXAMPLES = [page for page in PAGES if any(blocks(page)) and page.stem not in TOO_NEW]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.django_db(transaction=True)
def test_the_examples_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    if page.stem in SETTINGS:
        settings.TASKYARD = {**getattr(settings, "TASKYARD", {}), **SETTINGS[page.stem]}
    settings.CELERY_TASK_ALWAYS_EAGER = page.stem not in LAZY
    module = types.ModuleType(f"{page.stem.lower()}_page.tasks")
    # Pages write tasks into tasks.py of an app and import them from there.
    monkeypatch.setitem(sys.modules, "orders", types.ModuleType("orders"))
    monkeypatch.setitem(sys.modules, "orders.tasks", module)

    for line, code in blocks(page):
        # Empty lines put errors on the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), module.__dict__)
    # And the test cases that a page defines.
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    assert not [text for _, text in (*result.errors, *result.failures)]


PYTHON = re.compile(r"^```python(?: run)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_imports_from_us_exists_and_its_settings_are_settings(page: Path) -> None:
    known = {field.name.upper() for field in dataclasses.fields(Settings)}
    for code in PYTHON.findall(page.read_text(encoding="utf-8")):
        try:
            nodes = list(ast.walk(ast.parse(code)))
        except SyntaxError:
            # A fragment.
            continue
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "taskyard":
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TASKYARD":
                assert {key.value for key in node.value.keys} <= known, ast.unparse(node)


def test_pages_have_examples() -> None:
    assert {page.stem for page in WITH_EXAMPLES} >= {"README", "quickstart", "tasks", "celery"}
