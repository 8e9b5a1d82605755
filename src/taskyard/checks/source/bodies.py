"""What bodies of tasks do: swallow errors, retry what stays, add up what a second run would add again."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from taskyard.checks.source.declaring import names_of_lasting
from taskyard.checks.source.index import FUNCTIONS, Index, TaskSource, called, last_name, own_nodes

_EVERYTHING = frozenset({"Exception", "BaseException"})
_LOGGERS = frozenset({"logger", "logging", "log", "_logger", "_log", "print", "traceback", "warnings", "sentry_sdk"})
_LOGGING = frozenset({"exception", "error", "warning", "info", "debug", "critical", "capture_exception", "print_exc"})
_HARMLESS = frozenset({"str", "repr", "type", "len", "format", "format_exc", "dict"})


def swallowing(task: TaskSource) -> Iterator[ast.ExceptHandler]:
    """Handlers around the whole body that let any error pass and tell nobody but a log (W011)."""
    body = _work(task.function.body)
    while len(body) == 1 and isinstance(body[0], (ast.With, ast.AsyncWith)):
        body = _work(body[0].body)
    if len(body) == 1 and isinstance(body[0], ast.Try):
        for handler in body[0].handlers:
            if _catches_everything(handler) and _is_silent(handler):
                yield handler


def _work(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements that do something: not names, early ends, log lines and docstrings."""
    return [statement for statement in body if not _is_aside(statement)]


def _is_aside(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(isinstance(each, (ast.Return, ast.Raise)) or _is_aside(each) for each in statement.body)
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant) or _is_log(statement.value)
    names = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.Global, ast.Return, ast.Pass, *FUNCTIONS)
    return isinstance(statement, names)


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or last_name(kind) in _EVERYTHING for kind in kinds)


def _is_silent(handler: ast.ExceptHandler) -> bool:
    nodes = list(own_nodes(handler))
    if any(isinstance(node, (ast.Raise, ast.Yield, ast.Await)) for node in nodes):
        return False
    if any(isinstance(node, ast.Dict) and _says_failed(node) for node in nodes):
        # The settle reads {"success": False} as a failure.
        return False
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return all(_is_log(call) or called(call) in _HARMLESS for call in calls)


def _says_failed(node: ast.Dict) -> bool:
    return any(
        isinstance(key, ast.Constant) and key.value == "success" and isinstance(value, ast.Constant) and not value.value
        for key, value in zip(node.keys, node.values, strict=True)
    )


def _is_log(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    root: ast.AST = node.func
    while isinstance(root, ast.Attribute):
        root = root.value
    return last_name(root) in _LOGGERS or (isinstance(node.func, ast.Attribute) and node.func.attr in _LOGGING)


def retrying(index: Index, task: TaskSource) -> Iterator[tuple[ast.ExceptHandler, list[str]]]:
    """Handlers that catch what stays, and try again (W005)."""
    for node in own_nodes(task.function):
        if isinstance(node, ast.ExceptHandler) and node.type is not None and _retries(node):
            yield node, names_of_lasting(index, node.type, module=task.module)


def _retries(handler: ast.ExceptHandler) -> bool:
    """Whether all it does in the end is a retry; a condition before it may tell errors apart."""
    raised = [each.exc for each in handler.body if isinstance(each, ast.Raise) and each.exc is not None]
    plain = [each.value for each in handler.body if isinstance(each, (ast.Expr, ast.Return)) and each.value is not None]
    if any(isinstance(each, (ast.If, ast.Match)) for each in handler.body):
        return False
    return any(called(each) == "Retry" for each in raised) or any(
        isinstance(each, ast.Call) and called(each) == "retry" for each in (*raised, *plain)
    )


def adding(task: TaskSource) -> Iterator[ast.AST]:
    """Statements that add to what a row holds: after a crash the body runs again, and adds again (W014)."""
    nodes = list(own_nodes(task.function))
    saved = {
        ast.unparse(node.func.value)
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("save", "asave")
    }
    return (node for node in nodes if _is_update(node) or _is_saved_sum(node, saved))


def _is_update(node: ast.AST) -> bool:
    given = node.keywords if isinstance(node, ast.Call) and called(node) in ("update", "aupdate") else []
    return bool(given) and all(_adds(one) for one in given)


def _is_saved_sum(node: ast.AST, saved: set[str]) -> bool:
    target = node.target if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)) else None
    return isinstance(target, ast.Attribute) and ast.unparse(target.value) in saved


def _adds(given: ast.keyword) -> bool:
    value = given.value
    return isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub)) and any(
        isinstance(part, ast.Call) and called(part) == "F" and bool(part.args)
        and isinstance(part.args[0], ast.Constant) and part.args[0].value == given.arg
        for part in (value.left, value.right)
    )  # fmt: skip
