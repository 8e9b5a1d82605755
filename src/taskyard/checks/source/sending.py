"""What is wrong with calls that enqueue: too early, twice, with rows, or with an id that is kept too late."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from taskyard.checks.report import Found
from taskyard.checks.source.calls import CELERYS, Sent, is_view, rows
from taskyard.checks.source.declaring import is_model
from taskyard.checks.source.index import Function, Index, called, last_name, own_nodes

#: Names of parameters that say which row is meant.
_SUBJECT = re.compile(r"(?:.*_)?(?:id|pk|uuid)")
#: What somebody writes who has thought about the second click.
_GUARD = re.compile(
    r"\bexists\(|for_subject|\bactive\(|get_or_create|update_or_create|cache\.\w*(?:add|incr)|select_for_update"
    r"|DuplicateJob|guard|throttle|ratelimit|lock\("
)


def too_early(call: Sent) -> Iterator[Found]:
    """W006: a plain Celery app publishes at once, before the transaction commits, and also if it never does."""
    if call.task.is_foreign and call.around.is_atomic and call.verb in CELERYS:
        yield Found(
            "W006", f"{_text(call)} publishes inside a transaction: a worker may run it before the commit, and runs it "
            "after a rollback too.",
            "Make the app one of ours (`from taskyard.celery import Celery`): it writes the job in that transaction. "
            "Until then use delay_on_commit.",
            call.module.place(call.call),
        )  # fmt: skip


def with_rows(index: Index, call: Sent) -> Iterator[Found]:
    """W010: a model instance as an argument is not JSON, and old by the time it is read."""
    known = rows(call.around.function)
    for argument in call.arguments:
        text = ast.unparse(argument)
        is_user = text in ("request.user", "self.request.user")
        if is_user or text in known or _is_own_row(index, call, text):
            yield Found(
                "W010",
                f"{_text(call)} is given the row {text}: it is not JSON, and it has changed by the time the job runs.",
                f"Pass {text}.pk and fetch it in the task.", call.module.place(argument),
            )  # fmt: skip


def _is_own_row(index: Index, call: Sent, text: str) -> bool:
    function, cls = call.around.function, call.around.cls
    if text == "instance" and function is not None:
        return any(called(decorator) == "receiver" for decorator in function.decorator_list)
    name = ast.Name(id=cls.name, ctx=ast.Load()) if cls else None
    return text == "self" and name is not None and is_model(index, name, module=call.module)


def twice(call: Sent) -> Iterator[Found]:
    """W012: who clicks twice enqueues twice. Only where a person asks for it, about a row that was there before."""
    function = call.around.function
    if function is None or "unique" in call.task.options or call.task.is_open or not _is_asked_for(function):
        return
    subject = next((name for argument in call.arguments if (name := _subject(call, argument))), "")
    if subject and not _is_guarded(function, subject):
        yield Found(
            "W012", f"{function.name} enqueues {call.task.function.name} about {subject} each time it is asked to: two "
            "clicks are two jobs.",
            _guard_hint(call), call.module.place(call.call),
        )  # fmt: skip


def _guard_hint(call: Sent) -> str:
    names = [one.arg for one in call.task.function.args.args if _SUBJECT.fullmatch(one.arg)]
    hint = f"Declare unique={names[0] if names else 'document_id'!r} (a second enqueue returns the first job)"
    way = "" if call.task.kind == "taskyard" else " with @taskyard.task"
    return f"{hint}{way}, or unique=False if twice is meant."


def _is_asked_for(function: Function) -> bool:
    names = [argument.arg for argument in function.args.args]
    if names[-2:] == ["request", "queryset"]:
        return True
    if not is_view(function):
        return names[:1] == ["self"] and function.name == "post"
    decorators = " ".join(ast.unparse(each) for each in function.decorator_list).lower()
    return function.name == "post" or "post" in decorators or any(_asks_for_post(node) for node in own_nodes(function))


def _asks_for_post(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and "request.method" in ast.unparse(node) and "POST" in ast.unparse(node)


def _subject(call: Sent, argument: ast.expr) -> str:
    """The row an argument is the key of: one that was found, or named by whoever calls; empty: neither."""
    function = call.around.function
    if isinstance(argument, ast.Attribute) and argument.attr in ("pk", "id"):
        name = last_name(argument.value)
        return name if rows(function).get(name) == "found" else ""
    given = [one.arg for one in (*function.args.args, *function.args.kwonlyargs)] if function else []
    if isinstance(argument, ast.Name) and argument.id in given and _SUBJECT.fullmatch(argument.id):
        return argument.id
    is_of_url = isinstance(argument, ast.Subscript) and ast.unparse(argument.value) in ("kwargs", "self.kwargs")
    key = argument.slice if isinstance(argument, ast.Subscript) else None
    return str(key.value) if is_of_url and isinstance(key, ast.Constant) and _SUBJECT.fullmatch(str(key.value)) else ""


def _is_guarded(function: Function, subject: str) -> bool:
    if _GUARD.search(ast.unparse(function)):
        return True
    tests = [ast.unparse(node.test) for node in own_nodes(function) if isinstance(node, (ast.If, ast.IfExp))]
    return any(re.search(rf"\b{re.escape(subject)}\.|\.(update|filter)\(", test) for test in tests)


def id_kept_late(calls: list[Sent]) -> Iterator[Found]:
    """W013: the id of a job is written into a row after the job was sent; who dies in between loses it."""
    by_call = {id(call.call): call for call in calls if call.verb in CELERYS and _is_late(call)}
    by_function: dict[int, dict[str, Sent]] = {}
    for call in by_call.values():
        if call.around.function is not None:
            names = by_function.setdefault(id(call.around.function), {})
            names |= dict.fromkeys(_names_of_result(call.around.function, call.call), call)
    functions = {id(call.around.function): call.around.function for call in by_call.values() if call.around.function}
    for key, function in functions.items():
        written = [(node, value) for node in own_nodes(function) for value in _written(node)]
        for node, value in written:
            if found := _sent_of(value, by_call, by_function[key]):
                yield _kept_late(found, node)


def _is_late(call: Sent) -> bool:
    # On an app of ours and in one transaction, the job and its id are written together.
    is_together = call.around.is_atomic and not call.task.is_foreign
    return not is_together and "task_id" not in [one.arg for one in call.call.keywords]


def _names_of_result(function: Function, call: ast.Call) -> Iterator[str]:
    for node in own_nodes(function):
        if isinstance(node, ast.Assign) and node.value is call and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id


def _written(node: ast.AST) -> list[ast.expr]:
    """Values that go into a row: ``row.field = value``, ``.update(field=value)``."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        return [node.value]
    if isinstance(node, ast.Call) and called(node) in ("update", "aupdate", "create", "acreate"):
        return [one.value for one in node.keywords]
    return []


def _sent_of(value: ast.expr, by_call: dict[int, Sent], names: dict[str, Sent]) -> Sent | None:
    if isinstance(value, ast.Call) and called(value) == "str" and value.args:
        value = value.args[0]
    if isinstance(value, ast.Attribute) and value.attr in ("id", "task_id"):
        return by_call.get(id(value.value)) or names.get(last_name(value.value))
    return None


def _kept_late(call: Sent, node: ast.AST) -> Found:
    return Found(
        "W013", f"The id of {call.task.function.name} is saved after it was sent: it may run before that, and a crash "
        "in between loses it.",
        f"Link job and row in one transaction, {call.task.function.name}.using(subject=row).enqueue(...), and ask "
        "Job.objects.for_subject(row).",
        call.module.place(node),
    )  # fmt: skip


def _text(call: Sent) -> str:
    return f"{call.task.function.name}.{call.verb}()"
