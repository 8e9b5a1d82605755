"""The row that a call of a Celery task becomes, for whoever writes it together with something else."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.celery.application import Celery, get_app
from taskyard.celery.messages import SCHEMA, TENANT
from taskyard.celery.seam import RowProducer
from taskyard.errors import InvalidTask, UnknownTask
from taskyard.jobs.rows.newjob import NewJob

#: Options that somebody gives who means a task of other code.
_ADDRESSES = frozenset({"queue", "exchange", "routing_key", "headers"})


class _Collector(RowProducer):
    """Takes messages in and leaves it to others to write them."""

    def __exit__(self, *_: object) -> None:
        self._depth -= 1

    def publish(self, body: Any, **options: Any) -> None:
        """Take a task message in; one that would leave no row is refused."""
        name = (options.get("headers") or {}).get("task")
        if name is not None and not self.seam.is_tracked(name, options.get("declare")):
            raise InvalidTask(name, "its messages leave no row (tracked=False, or a broadcast): it cannot be scheduled")
        super().publish(body, **options)

    def taken(self, name: str) -> NewJob:
        """The row of the one message."""
        if len(self._sent) != 1:
            raise InvalidTask(name, f"its apply_async() sent {len(self._sent)} messages, and a due time is one job")
        return self._sent[0].job


def job_of_call(
    name: str, args: Sequence[Any], *, kwargs: Mapping[str, Any], tenant: str, options: Mapping[str, Any]
) -> NewJob:
    """The row of ``apply_async(args, kwargs, **options)`` for a tenant (empty: outside of all), not written.

    A task that this process does not know is called by its name, if something says whose it is: a queue, headers or a
    route. Raises :class:`~taskyard.errors.UnknownTask` if nothing does, what ``apply_async`` raises, and
    :class:`~taskyard.errors.InvalidTask` for a task without jobs.
    """
    app = get_app()
    task = app.tasks.get(name)
    if task is None and not _ADDRESSES & options.keys() and app.route_of(name) == app.default_queue_name():
        raise UnknownTask(name, difflib.get_close_matches(name, app.tasks, n=1))
    call = functools.partial(app.send_task, name) if task is None else task.apply_async
    headers = dict(options.get("headers") or {})
    if tenant or SCHEMA not in headers:
        # Also the empty name: nobody's, whoever's job or tenant this is called from.
        headers[TENANT] = tenant
    producer = _Collector(app.seam)
    call(args, kwargs, producer=producer, **{**options, **_without_replies(app), "headers": headers})
    return producer.taken(name)


def _without_replies(app: Celery) -> dict[str, Any]:
    # rpc:// would open a connection to declare the queue for replies, and nobody waits for this one.
    return {"ignore_result": True} if str(app.conf.result_backend or "").startswith("rpc") else {}
