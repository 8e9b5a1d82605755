"""Every check that reads source, over all modules of the project: once in a process."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator
from functools import lru_cache

from django.db import connections

from taskyard.checks.report import Found
from taskyard.checks.source import bodies, calls, sending
from taskyard.checks.source.declaring import Declared, declared, lasting_errors, model_parameters
from taskyard.checks.source.index import Index, TaskSource, called, imported_from, last_name
from taskyard.checks.source.modules import Module, other_names, read, roots

__all__ = ["Declared", "Source", "check_source", "read_source", "source"]


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What is kept of the source: no trees."""

    tasks: tuple[Declared, ...]
    #: Queues that declarations name, what goes there, and where that stands.
    queues: tuple[tuple[str, str, str], ...]
    found: tuple[Found, ...]
    #: Modules with tasks: name -> path.
    files: dict[str, str]
    #: Names that are imported somewhere, and may be another name of one of these.
    imports: frozenset[str]
    has_foreign_app: bool
    sets_beat_schedule: bool
    reads_results: bool


def source() -> Source:
    """What the project's modules say."""
    atomic = any(connections[alias].settings_dict.get("ATOMIC_REQUESTS") for alias in connections)
    return read_source(roots(), atomic)


def check_source() -> Iterator[Found]:
    """W005 to W007, W010 to W014, and W020."""
    known = source()
    yield from known.found
    for own, other in other_names(known.files, {*known.imports, *sys.modules}):
        yield Found(
            "W020", f"The tasks of {own} are imported as {other} too: a module twice, with tasks under two names.",
            f"Import it as {own} everywhere: that is the name of its app.",
            other,
        )  # fmt: skip


@lru_cache(maxsize=2)
def read_source(where: tuple[tuple[str, str], ...], has_atomic_requests: bool) -> Source:
    """What the modules of these packages (dotted name and folder) say; read once, kept without its trees.

    ``has_atomic_requests``: a view is a transaction.
    """
    known = read(where)
    index = Index(known.modules)
    # The limit of a step is that of its rollback.
    steps = [step for step in index.steps if step.kind == "step"]
    tasks = [declared(index, task) for task in (*index.tasks.values(), *steps)]
    found = [each for task in (*index.tasks.values(), *index.steps) for each in _of_task(index, task)]
    beat = [each for module in known.modules for each in _beat(index, module)]
    for module in known.modules:
        found += _of_calls(index, module, has_atomic_requests)
    with_tasks = {task.module.name: task.module.path for task in index.tasks.values()}
    tails = {_tail(name) for name in with_tasks}
    return Source(
        tasks=tuple(tasks),
        queues=tuple((task.queue, task.name, task.where) for task in tasks if task.queue),
        found=(*found, *beat),
        files=with_tasks,
        imports=frozenset(name for module in known.modules for name in _imports(module) if _tail(name) in tails),
        has_foreign_app=index.has_foreign_app,
        sets_beat_schedule=bool(beat),
        reads_results=known.reads_results,
    )


def _of_task(index: Index, task: TaskSource) -> Iterator[Found]:
    name, module, function = task.function.name, task.module, task.function
    retries: list[tuple[ast.AST, list[str]]] = [(function, lasting_errors(index, task)), *bodies.retrying(index, task)]
    for node, errors in retries:
        if errors and not module.allows("W005", node, function):
            yield Found(
                "W005", f"{name} is tried again after {', '.join(errors)}: what is wrong with the data or the code is "
                "wrong the next time too.",
                "Name errors that pass by themselves: RetryPolicy(on=(ConnectionError, TimeoutError)).",
                module.place(node),
            )  # fmt: skip
    for parameter, model in model_parameters(index, task):
        if not module.allows("W010", function):
            yield Found(
                "W010", f"{name} takes a {model} ({parameter}): a row is not JSON, and it has changed by the time the "
                "job runs.",
                f"Take its key, {parameter}_id, and fetch it in the task.",
                module.place(function),
            )  # fmt: skip
    for handler in bodies.swallowing(task):
        if not module.allows("W011", handler, function):
            yield Found(
                "W011", f"{name} catches every error and goes on: its jobs succeed whatever happens.",
                "Let it raise, or catch what you expect; of a batch, current_job().item_failed(item, error) keeps it.",
                module.place(handler),
            )  # fmt: skip
    for added in bodies.adding(task):
        if not module.allows("W014", added, function):
            yield Found(
                "W014", f"{name} adds to a row: a job runs at least once, and a second run adds again.",
                "Count what is there instead, or mark what was counted in the same statement. "
                "taskyard.testing.assert_idempotent shows it.",
                module.place(added),
            )  # fmt: skip


def _of_calls(index: Index, module: Module, has_atomic_requests: bool) -> Iterator[Found]:
    found = calls.sent(index, module, has_atomic_requests=has_atomic_requests)
    for call in found:
        said = [*sending.too_early(call), *sending.with_rows(index, call), *sending.twice(call)]
        yield from (each for each in said if not module.allows(each.number, call.call, call.around.function))
    late = [call for call in found if not module.allows("W013", call.call, call.around.function)]
    yield from sending.id_kept_late(late)


def _beat(index: Index, module: Module) -> Iterator[Found]:
    for node in module.nodes:
        is_set = isinstance(node, ast.Assign) and last_name(node.targets[0]) == "beat_schedule"
        is_added = isinstance(node, ast.Call) and called(node) == "add_periodic_task"
        is_updated = isinstance(node, ast.Call) and called(node) == "update" and _names_beat(node)
        if (is_set or is_added or is_updated) and not module.allows("W007", node):
            yield Found(
                "W007", "The schedule stands in the code of the app, which only a deploy can change.",
                "Write @schedule above the task: people can pause it, see its next runs and why one did not happen.",
                module.place(node),
            )  # fmt: skip


def _names_beat(node: ast.Call) -> bool:
    return any(one.arg == "beat_schedule" for one in node.keywords)


def _imports(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = imported_from(module, node)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _tail(name: str) -> str:
    return name.rpartition(".")[2]
