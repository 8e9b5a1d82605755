"""``@orchestrator``, and the class that what it stands above inherits from."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from taskyard.errors import InvalidOrchestrator
from taskyard.sagas.context import Context
from taskyard.sagas.declaring import registry
from taskyard.sagas.declaring.definition import Definition, find_problems
from taskyard.sagas.declaring.steps import Declared
from taskyard.sagas.handle import Handle
from taskyard.sagas.writing.starting import run_inline, start
from taskyard.tasks.answers import Answers

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}", re.ASCII)
_Class = TypeVar("_Class", bound="type[Orchestrator]")


class Orchestrator:
    """Steps in their order; made anew, without arguments, for each attempt of a step."""

    definition: ClassVar[Definition]
    #: What its steps are given as context; a subclass of :class:`Context` may add properties.
    context_class: ClassVar[type[Context]] = Context

    @classmethod
    def start(cls, **inputs: Any) -> Handle:
        """Start a saga in the caller's transaction: it exists exactly if that commits; returns its handle.

        Its result, when it has completed, is what its last step returned.

        See :meth:`using` for whom it is for and what it is about. Raises ``TypeError`` for inputs that no step takes or
        that are missing, and what enqueueing a job does.
        """
        return cls.using().start(**inputs)

    @classmethod
    def run_inline(cls, **inputs: Any) -> Handle:
        """Run it here and now, with the same record, and return when it has ended or waits for something.

        Steps that would be jobs run here as well. Where a step fails, what was done is compensated, and its error is
        raised once that is done or is up to a worker. If this process dies, a worker goes on within a minute or, where
        the step in hand has a longer ``time_limit``, after that. Raises
        :class:`~taskyard.errors.TaskyardError` within a transaction of the control database: what it writes down has to
        stay if the caller's work does not.
        """
        return cls.using().run_inline(**inputs)

    @classmethod
    def using(cls, *, user: Any = None, tenant: Any = None, subject: Any = None, created_by: Any = None) -> Starting:
        """The same with options for one start.

        ``user``: whom it acts for: its steps find it in ``context.user``, and it fails if that user is gone.
        ``tenant``: a name or object; the default is the current one. ``subject``: a saved row of the project's own
        that it is about. ``created_by``: who is shown as its author; the default is the user.
        """
        return Starting(cls.definition, user=user, tenant=tenant, subject=subject, created_by=created_by)


class Starting:
    """An orchestrator with options for one start."""

    def __init__(self, definition: Definition, **about: Any) -> None:
        self._definition, self._about = definition, about

    def start(self, **inputs: Any) -> Handle:
        """See :meth:`Orchestrator.start`."""
        return start(self._definition, inputs, **self._about)

    def run_inline(self, **inputs: Any) -> Handle:
        """See :meth:`Orchestrator.run_inline`."""
        return run_inline(self._definition, inputs, **self._about)


def orchestrator(
    name: str,
    *,
    version: int = 1,
    queue: str | None = None,
    deadline: dt.timedelta | None = None,
    errors: Answers | None = None,
    sensitive: tuple[str, ...] = (),
    tenant_from: Any = None,
) -> Callable[[_Class], _Class]:
    """Declare an orchestrator under a name.

    Args:
        name: lower-case letters, digits, ``_``, ``-`` and ``.``; its jobs are those of the task ``saga.<name>``.
        version: of its steps. A saga ends on the version it began with: keep the class of a version that sagas are on
            their way with, and give the new one the next number. ``manage.py check --database default`` lists them.
        queue: where the coordinator and the steps without a queue of their own run.
        deadline: so long after its start it turns round, unless it is past its pivot.
        errors: ``{CardDeclined: 402}``: business errors. They are never retried, and ``run_inline`` in a view answers
            with that status (``docs/tasks.md``).
        sensitive: names of inputs, and of keys in inputs and results, whose values are secrets.
        tenant_from: the input that says for which tenant it is (or a callable of the inputs); another than the current
            tenant is refused.

    Raises :class:`~taskyard.errors.InvalidOrchestrator` for what cannot work, all of it at once.
    """

    def declare(cls: _Class) -> _Class:
        problems = []
        # As it was given: a caller need not heed the types.
        number: object = version
        if not _NAME.fullmatch(name):
            problems.append("a name has up to 100 lower-case letters, digits, '_', '-' and '.', a letter first")
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            problems.append(f"version must be 1 or more, not {number!r}")
        given: Any = cls
        if not issubclass(given, Orchestrator):
            problems.append(f"{cls.__name__} must inherit from taskyard.sagas.Orchestrator")
        found = Definition(
            name, version, cls, _steps_of(cls), queue=queue, deadline=deadline, errors=errors or {},
            sensitive=sensitive, tenant_from=tenant_from,
        )  # fmt: skip
        if problems := problems + find_problems(found):
            raise InvalidOrchestrator(name, problems)
        # Before its tasks are declared: which version of it they are for is asked by name.
        registry.register(found)
        from taskyard.sagas.running.tasks import declare_tasks

        declare_tasks(found)
        cls.definition = found
        return cls

    return declare


def _steps_of(cls: type) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    for base in reversed(cls.__mro__):
        found |= {name: value for name, value in vars(base).items() if isinstance(value, Declared)}
        # A subclass may take a step away.
        for name in [name for name, value in vars(base).items() if name in found and not isinstance(value, Declared)]:
            del found[name]
    return found
