"""Where the project enqueues: each call of a task with what surrounds it."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator

from taskyard.checks.source.index import Function, Index, TaskSource, called, own_nodes
from taskyard.checks.source.modules import Module

#: Celery's words, and ours.
CELERYS = ("delay", "apply_async")
_VERBS = (*CELERYS, "enqueue", "aenqueue", "delay_on_commit", "apply_async_on_commit")
_BEFORE = ("using", "s", "si", "signature", "subtask", "set")
_ATOMIC = ("atomic", "commit_on_success")
#: How a row is fetched, and how one is made.
_FINDS = ("get", "first", "last", "latest", "earliest", "get_or_create", "update_or_create")
_MAKES = ("create", "save")
_VALUES = ("values", "values_list", "in_bulk", "dates", "datetimes", "items", "keys", "ids")


@dataclasses.dataclass(frozen=True, slots=True)
class Around:
    """What a call stands in."""

    function: Function | None = None
    cls: ast.ClassDef | None = None
    is_atomic: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """One call that enqueues."""

    module: Module
    call: ast.Call
    verb: str
    task: TaskSource
    around: Around

    @property
    def arguments(self) -> list[ast.expr]:
        """What the task is given."""
        given: list[ast.expr] = []
        if self.verb.startswith("apply_async"):
            named = {one.arg: one.value for one in self.call.keywords}
            places = [*self.call.args, *(named[name] for name in ("args", "kwargs") if name in named)]
            for place in places:
                given += getattr(place, "elts", []) or getattr(place, "values", [])
        else:
            given = [*self.call.args, *(one.value for one in self.call.keywords)]
        base = getattr(self.call.func, "value", None)
        while isinstance(base, ast.Call):
            if called(base) in ("s", "si"):
                given += [*base.args, *(one.value for one in base.keywords)]
            base = getattr(base.func, "value", None)
        return given


def sent(index: Index, module: Module, *, has_atomic_requests: bool) -> list[Sent]:
    """Every call of a task that is known, in a module."""
    finder = _Finder(index, module, has_atomic_requests=has_atomic_requests)
    lines = [node.lineno for node in module.nodes if isinstance(node, ast.Call) and called(node) in _VERBS]
    for statement in module.tree.body:
        if any(statement.lineno <= line <= (statement.end_lineno or 0) for line in lines):
            finder.visit(statement)
    return finder.found


class _Finder(ast.NodeVisitor):
    def __init__(self, index: Index, module: Module, *, has_atomic_requests: bool) -> None:
        self.index, self.module, self.has_atomic_requests = index, module, has_atomic_requests
        self.found: list[Sent] = []
        self.around = Around()

    def _inside(self, node: ast.AST, around: Around) -> None:
        outer, self.around = self.around, around
        self.generic_visit(node)
        self.around = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: Function) -> None:
        is_atomic = any(called(each) in _ATOMIC for each in node.decorator_list)
        # A function in a function runs when it is called: in an on_commit, say.
        is_request = self.has_atomic_requests and self.around.function is None and is_view(node)
        self._inside(node, dataclasses.replace(self.around, function=node, is_atomic=is_atomic or is_request))

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inside(node, dataclasses.replace(self.around, is_atomic=False))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside(node, Around(cls=node))

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        is_atomic = any(called(item.context_expr) in _ATOMIC for item in node.items)
        self._inside(node, dataclasses.replace(self.around, is_atomic=self.around.is_atomic or is_atomic))

    visit_AsyncWith = visit_With

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in _VERBS:
            task = self.index.tasks.get(self.index.dotted(self.module, _without_options(node.func.value)))
            if task is not None:
                self.found.append(Sent(self.module, node, node.func.attr, task, self.around))
        self.generic_visit(node)


def _without_options(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _BEFORE:
        node = node.func.value
    return node


def is_view(function: Function) -> bool:
    """Whether it takes a request first, after ``self``."""
    return "request" in [argument.arg for argument in function.args.args][:2]


def rows(function: Function | None) -> dict[str, str]:
    """Local names that stand for a row, each ``found`` or ``made`` by the function."""
    known: dict[str, str] = {}
    for node in own_nodes(function) if function else ():
        if isinstance(node, (ast.For, ast.AsyncFor)) and isinstance(node.target, ast.Name) and _yields_rows(node.iter):
            known[node.target.id] = "found"
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Tuple) and target.elts:
                target = target.elts[0]
            if isinstance(target, ast.Name) and (how := _row(node.value)):
                known[target.id] = how
    return known


def _row(value: ast.expr | None) -> str:
    value = value.value if isinstance(value, ast.Await) else value
    if not isinstance(value, ast.Call):
        return ""
    name, is_of_manager = called(value), bool({"objects", "_default_manager"} & set(_chain(value)))
    plain = name.removeprefix("a")
    if name.endswith(("get_object_or_404", "get_object")) or (is_of_manager and {name, plain} & set(_FINDS)):
        return "" if set(_VALUES) & set(_chain(value)) else "found"
    is_form = bool({"form", "serializer"} & set(_chain(value)))
    return "made" if (is_of_manager or is_form) and {name, plain} & set(_MAKES) else ""


def _yields_rows(value: ast.expr) -> bool:
    chain = set(_chain(value))
    return bool({"objects", "queryset"} & chain) and not set(_VALUES) & chain


def _chain(node: ast.AST) -> Iterator[str]:
    """``["filter", "objects", "Order"]`` of ``Order.objects.filter(...)``."""
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Attribute):
            yield node.attr
            node = node.value
        else:
            break
    if isinstance(node, ast.Name):
        yield node.id
