"""What names stand for, across modules: which functions are tasks, and of which app."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

from taskyard.checks.source.modules import Module

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

#: Decorators that make a task, or a step of a saga, by where they are imported from.
_DECORATORS = {
    "taskyard.task": "taskyard", "taskyard.tasks.task.task": "taskyard", "celery.shared_task": "shared",
    "celery.app.shared_task": "shared", "django.tasks.task": "django", "django_tasks.task": "django",
    "taskyard.sagas.step": "step", "taskyard.sagas.declaring.steps.step": "step",
}  # fmt: skip
#: Classes of apps; True: ours.
_APPS = {
    "celery.Celery": False, "celery.app.Celery": False, "celery.app.base.Celery": False,
    "tenant_schemas_celery.app.CeleryApp": False, "taskyard.celery.Celery": True,
    "taskyard.compat.tenant_schemas_celery.app.CeleryApp": True,
}  # fmt: skip
_OF_SAGAS = frozenset({"step", "rollback"})
_MOST_STEPS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSource:
    """A declared task, as its source says it."""

    #: Dotted path of the function.
    path: str
    module: Module
    function: Function
    #: ``taskyard``, ``shared``, ``app`` or ``django``; ``step`` and ``rollback`` of sagas.
    kind: str
    options: dict[str, ast.expr]
    #: Some options cannot be read: ``@task(**OPTIONS)``.
    is_open: bool
    #: Its app is a plain ``celery.Celery``.
    is_foreign: bool


class Index:
    """Names of all modules that were read."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = {module.name: module for module in modules}
        self._names = {module.name: _names(module) for module in modules}
        self._values = {
            f"{module.name}.{name}": value for module in modules for name, value in _assigned(module.tree.body)
        }
        self._apps = dict(self._find_apps())
        found = [task for module in modules for task in self._find_tasks(module)]
        self.tasks = {task.path: task for task in found if task.kind not in _OF_SAGAS}
        #: Not by their paths: classes beside each other have steps of the same names.
        self.steps = [task for task in found if task.kind in _OF_SAGAS]

    @functools.cached_property
    def has_foreign_app(self) -> bool:
        """Whether ``@shared_task`` may be a task of a plain Celery app."""
        return bool(self._apps) and not any(self._apps.values())

    def dotted(self, module: Module, node: ast.AST | None) -> str:
        """What an expression of names stands for, followed through modules that only hand it on; empty: unknown."""
        if isinstance(node, ast.Attribute):
            base = self.dotted(module, node.value)
            return self._followed(f"{base}.{node.attr}") if base else ""
        if isinstance(node, ast.Name):
            return self._followed(self._names[module.name].get(node.id, ""))
        return ""

    def value(self, module: Module, node: ast.expr) -> tuple[Module, ast.expr]:
        """The expression that a name was given at the top of a module, and that module; else the expression itself."""
        for _ in range(_MOST_STEPS):
            path = self.dotted(module, node)
            if path not in self._values:
                break
            module, node = self.modules[path.rpartition(".")[0]], self._values[path]
        return module, node

    def is_app(self, module: Module, node: ast.AST) -> bool:
        """Whether an expression is a Celery app of the project."""
        return self.dotted(module, node) in self._apps

    def is_foreign_app(self, module: Module, node: ast.AST) -> bool:
        """Whether it is one that is not ours."""
        return self._apps.get(self.dotted(module, node)) is False

    def _followed(self, path: str) -> str:
        for _ in range(_MOST_STEPS):
            module, _, name = path.rpartition(".")
            further = self._names.get(module, {}).get(name, path)
            if further == path:
                break
            path = further
        return path

    def _find_apps(self) -> Iterator[tuple[str, bool]]:
        for path, value in self._values.items():
            module = self.modules[path.rpartition(".")[0]]
            if isinstance(value, ast.Call) and (name := self.dotted(module, value.func)) in _APPS:
                yield path, _APPS[name]

    def _find_tasks(self, module: Module) -> Iterator[TaskSource]:
        functions = [node for node in module.nodes if isinstance(node, FUNCTIONS)]
        for node in functions:
            for decorator in node.decorator_list:
                call = decorator.func if isinstance(decorator, ast.Call) else decorator
                if kind := self._kind(module, call):
                    given = decorator.keywords if isinstance(decorator, ast.Call) else []
                    options = {one.arg: one.value for one in given if one.arg}
                    is_foreign = self._is_foreign(module, call, kind)
                    path, is_open = f"{module.name}.{node.name}", any(one.arg is None for one in given)
                    yield TaskSource(path, module, node, kind, options, is_open, is_foreign)

    def _kind(self, module: Module, decorator: ast.expr) -> str:
        if isinstance(decorator, ast.Attribute):
            if decorator.attr == "task" and self.is_app(module, decorator.value):
                return "app"
            if decorator.attr == "rollback" and self._is_in_class(module, decorator.value):
                return "rollback"
        return _DECORATORS.get(self.dotted(module, decorator), "")

    def _is_in_class(self, module: Module, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id not in self._names[module.name]

    def _is_foreign(self, module: Module, decorator: ast.expr, kind: str) -> bool:
        if kind == "app" and isinstance(decorator, ast.Attribute):
            return self.is_foreign_app(module, decorator.value)
        return kind == "shared" and self.has_foreign_app


def _names(module: Module) -> dict[str, str]:
    """Local name -> dotted path: what a module defines at its top, and what it imports anywhere."""
    names = {name: f"{module.name}.{name}" for name, _ in _assigned(module.tree.body)}
    for defined in module.tree.body:
        if isinstance(defined, (*FUNCTIONS, ast.ClassDef)):
            names[defined.name] = f"{module.name}.{defined.name}"
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom):
            base = imported_from(module, node)
            names |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
    return names


def imported_from(module: Module, node: ast.ImportFrom) -> str:
    """Absolute name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    package = module.package.split(".")
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        targets: list[Any] = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and value is not None and isinstance(targets[0], ast.Name):
            yield targets[0].id, value


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Every node of a function's body, without those of functions and classes in it."""
    for node in getattr(function, "body", ()):
        yield from _inside(node)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _inside(child)


def last_name(node: ast.AST | None) -> str:
    """``DoesNotExist`` of ``Order.DoesNotExist``; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def called(node: ast.AST) -> str:
    """The last name of what a call calls, or of the expression itself."""
    return last_name(node.func if isinstance(node, ast.Call) else node)
