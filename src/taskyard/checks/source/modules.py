"""The project's own modules: those of its apps and of the package its settings are in, but for tests and migrations."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings

import taskyard

#: What a module says that has to do with tasks; others are not parsed.
_WORTH = re.compile(rb"celery|taskyard|tasks\b|\.task\b|\.delay\(|apply_async|\.enqueue\(")
#: What a module says that reads a result of Celery's.
_READS = re.compile(
    rb"AsyncResult|GroupResult|ResultSet|TaskResult|\bchord\b|allow_join_result|\.get\(timeout"
    rb"|(delay|apply_async)\([^\n]*\)\.get\(|\bres(ult)?\.get\(\)"
)
_ALLOWED = re.compile(r"#\s*taskyard:\s*allow\s+(W\d{3}(?:\s*,\s*W\d{3})*)\s*(?:—|–|-+|:)\s*\S")
_SKIPPED = frozenset({"migrations", "tests", "test", "__pycache__"})
_TESTS = re.compile(r"test_|(tests|conftest)\.py")
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.Call, ast.Assign)
_LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator, ast.cmpop, ast.boolop, ast.unaryop, ast.arguments)
#: Nested deeper than anybody writes by hand.
_DEEPEST = 100
_ELSEWHERE = frozenset({"site-packages", "dist-packages"})


@dataclasses.dataclass(frozen=True, slots=True)
class Module:
    """One file that could be parsed."""

    name: str
    path: str
    tree: ast.Module
    lines: tuple[str, ...]
    #: Its imports, functions, calls and assignments, from top to bottom. Looked for once: that is what takes the time.
    nodes: tuple[ast.AST, ...] = ()

    @property
    def package(self) -> str:
        """What a relative import begins at."""
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]

    def place(self, node: ast.AST) -> str:
        """File and line, the file as somebody in the project's folder would write it."""
        return f"{os.path.relpath(self.path)}:{getattr(node, 'lineno', 1)}"

    def allows(self, number: str, *nodes: ast.AST | None) -> bool:
        """Whether a comment with a reason stands at the end of a node's first line, or alone on the line above it."""
        for node in nodes:
            first = getattr(node, "lineno", 0)
            for decorator in getattr(node, "decorator_list", ()):
                first = min(first, decorator.lineno)
            said = self.lines[first - 1 : getattr(node, "lineno", 0)]
            above = self.lines[first - 2] if first > 1 and self.lines[first - 2].lstrip().startswith("#") else ""
            if any(number in match[1] for match in map(_ALLOWED.search, (*said, above)) if match):
                return True
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """What was read."""

    modules: tuple[Module, ...]
    reads_results: bool


def roots() -> tuple[tuple[str, str], ...]:
    """Packages of the project, as dotted name and folder; apps that were installed with pip are not the project's."""
    found = {config.name: str(config.path) for config in apps.get_app_configs()}
    package, dot, _ = str(getattr(django_settings, "SETTINGS_MODULE", None) or "").partition(".")
    spec = find_spec(package) if dot and package not in found and package not in _SKIPPED else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        found[package] = folder
    return tuple(sorted((name, folder) for name, folder in found.items() if _is_own(folder)))


def _is_own(folder: str) -> bool:
    ours = str(Path(taskyard.__file__).parent)
    return not (folder + os.sep).startswith(ours + os.sep) and not _ELSEWHERE & set(Path(folder).parts)


def read(where: tuple[tuple[str, str], ...]) -> Read:
    """Parse what is worth it. A file that cannot be read or parsed is left out: importing it says why."""
    modules, reads_results = [], False
    for name, path in _files(where):
        try:
            raw = Path(path).read_bytes()
            reads_results = reads_results or bool(_READS.search(raw))
            if _WORTH.search(raw):
                tree = ast.parse(raw, path)
                modules.append(Module(name, path, tree, _lines(raw), _nodes(tree)))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return Read(tuple(modules), reads_results)


def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    level: list[ast.AST] = [tree]
    found: list[Any] = []
    for _ in range(_DEEPEST):
        found += [node for node in level if isinstance(node, _KEPT)]
        level = [child for node in level for child in _children(node)]
    if level:
        # Whoever reads on would come to the end of Python's stack.
        raise RecursionError
    return tuple(sorted(found, key=lambda node: (node.lineno, node.col_offset)))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    # As ast.iter_child_nodes, without what has no children worth a look.
    for field in node._fields:
        value = getattr(node, field, None)
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, ast.AST) and not isinstance(each, _LEAVES):
                yield each


def _lines(raw: bytes) -> tuple[str, ...]:
    return tuple(raw.decode("utf-8", "replace").splitlines())


def _files(where: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """Dotted name and path of each; one that lies in two packages has the name of the inner one."""
    seen = set()
    for name, folder in sorted(where, key=lambda root: -len(root[1])):
        for path in _files_below(folder):
            if path not in seen:
                seen.add(path)
                inner = Path(path).relative_to(folder).with_suffix("").parts
                yield ".".join([name, *(part for part in inner if part != "__init__")]), path


def _files_below(folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name) if Path(folder).is_dir() else ():
        if entry.is_dir(follow_symlinks=False):
            # Only packages: an app's folder may be the project's, with anything in it.
            if entry.name not in _SKIPPED and Path(entry.path, "__init__.py").exists():
                yield from _files_below(entry.path)
        elif entry.name.endswith(".py") and not _TESTS.match(entry.name):
            yield entry.path


def other_names(files: dict[str, str], imported: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names under which a file is imported beside its own: ``(own name, other name)``.

    ``files`` is dotted name -> path; a name counts that leads to such a file by some entry of ``sys.path``.
    """
    by_path = {os.path.realpath(path): name for name, path in files.items()}
    tails = {name.rpartition(".")[2] for name in files}
    for name in sorted(name for name in set(imported) - files.keys() if name.rpartition(".")[2] in tails):
        tail = name.replace(".", os.sep)
        for entry in sys.path:
            own = by_path.get(os.path.realpath(os.path.join(entry, f"{tail}.py")))  # noqa: PTH118 - a Path costs more
            if own:
                yield own, name
                break
