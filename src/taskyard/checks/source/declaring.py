"""What declarations of tasks say: limits, retries, arguments."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator

from django.db.models import Model

from taskyard.checks.source.index import Index, TaskSource, last_name
from taskyard.checks.source.modules import Module

#: Errors that are the same at the next attempt: the data is wrong, or the code.
_LASTING = frozenset({
    "Exception", "BaseException", "ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "AttributeError",
    "AssertionError", "ArithmeticError", "ZeroDivisionError", "NotImplementedError", "ValidationError",
    "ObjectDoesNotExist", "DoesNotExist", "MultipleObjectsReturned", "PermissionDenied", "Http404",
    "SuspiciousOperation",
})  # fmt: skip
_LIMITS = frozenset({"time_limit", "soft_time_limit"})
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1, "milliseconds": 0.001}


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """What is kept of a task once the source is read."""

    name: str
    where: str
    is_limited: bool
    limit_seconds: float
    is_tracked: bool
    ignores_result: bool
    serializer: str
    queue: str


def declared(index: Index, task: TaskSource) -> Declared:
    """A task's options, as far as they can be read."""
    options = task.options
    allows = task.module.allows("W004", task.function)
    return Declared(
        name=_text(options.get("name")) or task.path,
        where=task.module.place(task.function),
        is_limited=(
            allows or task.is_open or task.kind == "django" or _is_true(options.get("pack"))
            or bool(_LIMITS & options.keys())
        ),
        limit_seconds=max(_seconds(index, task.module, options.get(name)) for name in _LIMITS),
        is_tracked=not _is_false(options.get("tracked")),
        ignores_result=_is_true(options.get("ignore_result")),
        serializer="" if task.module.allows("W003", task.function) else _text(options.get("serializer")),
        queue="" if task.module.allows("W019", task.function) else _text(options.get("queue")),
    )  # fmt: skip


def _text(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _seconds(index: Index, module: Module, node: ast.expr | None) -> float:
    """Of a number or a ``timedelta`` that is written out; zero for anything else."""
    if node is None:
        return 0.0
    module, node = index.value(module, node)
    if isinstance(node, ast.Call) and last_name(node.func) == "timedelta":
        return sum(_SECONDS.get(each.arg or "", 0) * _number(each.value) for each in node.keywords)
    return _number(node)


def _number(node: ast.AST) -> float:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _number(node.left) * _number(node.right)
    is_number = isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    return float(node.value) if is_number else 0.0  # type: ignore[attr-defined]


def lasting_errors(index: Index, task: TaskSource) -> list[str]:
    """Errors a declaration retries on although they stay (W005)."""
    retry, automatic = task.options.get("retry"), task.options.get("autoretry_for")
    if task.kind in ("taskyard", "step") and retry is not None:
        module, policy = index.value(task.module, retry)
        return _of_policy(index, module, policy)
    return names_of_lasting(index, automatic, module=task.module) if automatic is not None else []


def _of_policy(index: Index, module: Module, policy: ast.expr) -> list[str]:
    if not (isinstance(policy, ast.Call) and last_name(policy.func) == "RetryPolicy"):
        return []
    said = {one.arg: one.value for one in policy.keywords}
    retries = said.get("max_retries", policy.args[1] if len(policy.args) > 1 else None)
    if None in said or (isinstance(retries, ast.Constant) and retries.value == 0):
        return []
    errors = said.get("on", policy.args[0] if policy.args else None)
    return ["Exception"] if errors is None else names_of_lasting(index, errors, module=module)


def names_of_lasting(index: Index, errors: ast.expr, *, module: Module) -> list[str]:
    """Those of a class or a tuple of classes that stay."""
    module, errors = index.value(module, errors)
    each = errors.elts if isinstance(errors, (ast.Tuple, ast.List)) else [errors]
    return [last_name(one) for one in each if last_name(one) in _LASTING]


def model_parameters(index: Index, task: TaskSource) -> Iterator[tuple[str, str]]:
    """Parameters whose annotation names a model, and the model (W010)."""
    arguments = task.function.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        for name in _names_in(one.annotation):
            if is_model(index, name, module=task.module):
                yield one.arg, last_name(name)
                break


def _names_in(annotation: ast.expr | None) -> Iterator[ast.expr]:
    if annotation is None:
        return
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return
    if isinstance(annotation, ast.Subscript) and last_name(annotation.value) in ("Annotated", "Callable", "type"):
        return
    if isinstance(annotation, (ast.Name, ast.Attribute)):
        yield annotation
        return
    for child in ast.iter_child_nodes(annotation):
        if isinstance(child, ast.expr):
            yield from _names_in(child)


def is_model(index: Index, name: ast.AST, *, module: Module) -> bool:
    """Whether a name is a model. Models are loaded by now; nothing is imported to find out."""
    home, _, attribute = index.dotted(module, name).rpartition(".")
    found = getattr(sys.modules.get(home), attribute, None) if home else None
    return isinstance(found, type) and issubclass(found, Model)
