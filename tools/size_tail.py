"""The size tail: what keeps the longest function, the deepest nest and the fullest room from growing unnoticed.

Median sizes look fine in every code base; it is the tail that makes one hard to change. So each limit is hard, and
going over it takes an entry with a reason in size_exceptions.toml. An entry that is not needed any more is reported.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXCEPTIONS = Path(__file__).with_name("size_exceptions.toml")

FUNCTION_LINES = 40
FILE_LINES = 400
NESTING = 3
PARAMETERS = 6
POSITIONAL = 2
ROOM_FILES = 10
SHAPELESS = {"utils", "helpers", "common", "misc", "base", "manager"}
CATCH_ALL = {"Exception", "BaseException"}
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Finding:
    """`where` is what an exception names: a path, or path::qualified.name."""

    rule: str
    where: str
    line: int
    says: str

    def __str__(self) -> str:
        return f"{self.where.partition('::')[0]}:{self.line}: [{self.rule}] {self.says}"


@dataclass(frozen=True)
class Listed:
    """One entry of the exceptions file."""

    rule: str
    #: May hold a * where a foreign signature is implemented in many places.
    where: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        return self.rule == finding.rule and fnmatchcase(finding.where, self.where)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its qualified name, those inside functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            name = f"{prefix}{node.name}"
            if isinstance(node, FUNCTIONS):
                yield name, node
            yield from functions(node, f"{name}.")
        else:
            yield from functions(node, prefix)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function, clean=False) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def depth(node: ast.AST) -> int:
    """How deep blocks lie in blocks; `elif` is no deeper than its `if`, and an inner function starts anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = (
            isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse and len(node.orelse) == 1
        )
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """All parameters, and those that may be given by position; self and cls do not count.

    Nor does `now` by position: every agent and pure rule takes it, and nobody mistakes it for another argument.
    """
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    given = len(names) - (bool(names) and names[0] in ("self", "cls"))
    return given + len(function.args.kwonlyargs), given - ("now" in names)


def is_called_from_afar(name: str) -> bool:
    """A private function's callers are in sight of it, and Python itself says how most `__names__` are called."""
    return name == "__init__" or not name.startswith("_")


def check_functions(path: str, tree: ast.AST) -> Iterator[Finding]:
    for name, function in functions(tree):
        where = f"{path}::{name}"
        lines, nesting, (every, positional) = length(function), depth(function), parameters(function)
        if lines > FUNCTION_LINES:
            yield Finding("function-lines", where, function.lineno, f"{name} has {lines} lines, limit {FUNCTION_LINES}")
        if nesting > NESTING:
            yield Finding("nesting", where, function.lineno, f"{name} nests {nesting} deep, limit {NESTING}")
        if every > PARAMETERS:
            yield Finding("parameters", where, function.lineno, f"{name} has {every} parameters, limit {PARAMETERS}")
        if positional > POSITIONAL and is_called_from_afar(function.name):
            says = f"{name} takes {positional} parameters by position, limit {POSITIONAL}: put * before the rest"
            yield Finding("positional", where, function.lineno, says)


def catches_all(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind).removeprefix("builtins.") in CATCH_ALL for kind in kinds)


def check_handlers(path: str, tree: ast.AST) -> Iterator[Finding]:
    for name, node in named_nodes(tree):
        if isinstance(node, ast.ExceptHandler) and catches_all(node):
            says = f"{name or 'the module'} catches every exception: name the ones that are expected"
            yield Finding("catch-all", f"{path}::{name}" if name else path, node.lineno, says)


def check_sleep(path: str, tree: ast.AST) -> Iterator[Finding]:
    direct = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio")
        for alias in node.names
        if alias.name == "sleep"
    }
    for name, node in named_nodes(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ({"time.sleep", "asyncio.sleep"} | direct):
            says = f"{name or 'the module'} sleeps: wait for an event, or poll a condition with a deadline"
            yield Finding("sleep", f"{path}::{name}" if name else path, node.lineno, says)


def named_nodes(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node with the qualified name of the function or class around it."""
    for node in ast.iter_child_nodes(tree):
        inner = f"{name}.{node.name}".lstrip(".") if isinstance(node, (*FUNCTIONS, ast.ClassDef)) else name
        yield inner, node
        yield from named_nodes(node, inner)


def check_file(root: Path, file: Path) -> Iterator[Finding]:
    path = file.relative_to(root).as_posix()
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text, filename=path)
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield Finding("file-lines", path, 1, f"the file has {lines} lines, limit {FILE_LINES}")
    if file.stem in SHAPELESS:
        yield Finding("name", path, 1, f"{file.name} says nothing: name the thing that lives in it")
    yield from check_functions(path, tree)
    yield from check_handlers(path, tree)
    yield from check_sleep(path, tree)


def check_room(root: Path, folder: Path) -> Iterator[Finding]:
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    if len(files) > ROOM_FILES:
        where = folder.relative_to(root).as_posix()
        yield Finding("room-files", where, 1, f"the room has {len(files)} files, limit {ROOM_FILES}")


def check_tests(root: Path, file: Path) -> Iterator[Finding]:
    path = file.relative_to(root).as_posix()
    yield from check_sleep(path, ast.parse(file.read_text(encoding="utf-8"), filename=path))


def findings(root: Path) -> list[Finding]:
    """All that is over a limit below `root`, exceptions not yet taken off. Migrations are generated and not read."""
    source, found = root / "src" / "taskyard", []
    for folder in [source, *sorted(path for path in source.rglob("*") if path.is_dir())]:
        if folder.name in ("migrations", "__pycache__"):
            continue
        if folder != source:
            found += check_room(root, folder)
        for file in sorted(folder.glob("*.py")):
            found += check_file(root, file)
    for file in sorted((root / "tests").rglob("*.py")):
        found += check_tests(root, file)
    return found


def listed(file: Path) -> list[Listed]:
    """[[except]] tables with `rule`, `where` and `reason`; a reason is required."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("except", []) if file.exists() else []
    for entry in entries:
        if set(entry) != {"rule", "where", "reason"} or len(entry["reason"].split()) < 3:
            raise SystemExit(f"{file.name}: an exception needs rule, where and a reason in words: {entry}")
    return [Listed(**entry) for entry in entries]


def verdict(root: Path, exceptions: Path) -> list[str]:
    """One line per problem; empty when all is well."""
    found, entries = findings(root), listed(exceptions)
    problems = [str(finding) for finding in found if not any(entry.covers(finding) for entry in entries)]
    stale = [entry for entry in entries if not any(entry.covers(finding) for finding in found)]
    return problems + [
        f"{exceptions.name}: {entry.where} needs no exception from {entry.rule} any more" for entry in stale
    ]


def main() -> int:
    problems = verdict(ROOT, EXCEPTIONS)
    print(*problems, sep="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
