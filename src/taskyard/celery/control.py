"""Celery's remote control, with a revoke that sticks and a shutdown that is one of ours."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from typing import Any

from celery.app.control import Control as CeleryControl
from celery.app.control import Mailbox as CeleryMailbox
from celery.worker import control as worker_control
from celery.worker.control import Panel
from django.db import connections
from django.utils import timezone
from kombu.exceptions import OperationalError

from taskyard.errors import BrokerUnreachable
from taskyard.jobs.ids import job_id
from taskyard.tenancy.context import current_tenant

#: How long a broker may take to pass something on.
_LONGEST_ANSWER_SECONDS = 5.0


class Mailbox(CeleryMailbox):
    """A worker's mailbox that a new connection can always open.

    RabbitMQ keeps an exclusive queue locked for a connection that is gone until it notices, which may take for ever;
    meanwhile Celery's worker dies of declaring it again. So each connection has a queue of its own name there.
    """

    is_locked_by_connection = False

    def get_queue(self, hostname: str) -> Any:
        """The queue a node listens to; what is sent to the node does not name it."""
        queue = super().get_queue(hostname)
        if self.is_locked_by_connection:
            queue.name = f"{queue.name}.{uuid.uuid4().hex[:8]}"
        return queue


class Control(CeleryControl):
    """``app.control``."""

    Mailbox = Mailbox

    def __init__(self, app: Any = None) -> None:
        super().__init__(app)
        is_rabbitmq = str(app.conf.broker_read_url).startswith(("amqp", "pyamqp"))
        self.mailbox.is_locked_by_connection = is_rabbitmq and app.conf.control_queue_exclusive

    def revoke(self, task_id: Any, destination: Any = None, terminate: bool = False, **kwargs: Any) -> Any:
        """Cancel the rows, then tell the workers: a revoked job never starts, whatever restarts.

        Where a tenant is current, ids of others name nothing: neither their rows nor the workers hear of it.
        """
        task_ids = [task_id] if isinstance(task_id, str) else list(task_id)
        tenant = current_tenant() or None
        _cancel(task_ids, tenant)
        if tenant is not None:
            task_id = _without_others(task_ids, tenant)
        return super().revoke(task_id, destination=destination, terminate=terminate, **kwargs)


def _without_others(task_ids: list[str], tenant: str) -> list[str]:
    from taskyard.jobs.models import Job

    ids = {job_id(one): one for one in task_ids}
    others = set(Job.objects.filter(id__in=ids).exclude(tenant=tenant).values_list("id", flat=True))
    # Tasks without rows (tracked=False) are nobody's.
    return [one for key, one in ids.items() if key not in others]


def _cancel(task_ids: list[str], tenant: str | None = None) -> None:
    # Imported here: a project's celery.py is imported before its models may be.
    from taskyard.execution import steering

    steering.cancel([job_id(one) for one in task_ids], timezone.now(), reason="revoked", tenant=tenant)


def _cancel_in_thread(task_ids: list[str]) -> None:
    def work() -> None:
        try:
            _cancel(task_ids)
        finally:
            connections.close_all()

    # The worker's event loop does no database work.
    threading.Thread(target=work, name="taskyard-revoke", daemon=True).start()


def stop_worker(name: str) -> None:
    """Tell a worker to stop as SIGTERM does, by its node name; raises :class:`BrokerUnreachable`.

    Nobody answers: a worker that stops sends no reply.
    """
    from taskyard.celery.application import get_app

    app = get_app()
    connection = app.connection_for_write(connect_timeout=_LONGEST_ANSWER_SECONDS)
    try:
        with connection:
            connection.ensure_connection(max_retries=0, timeout=_LONGEST_ANSWER_SECONDS)
            app.control.broadcast("shutdown", destination=[name], connection=connection)
    except (OSError, OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
        raise BrokerUnreachable(connection.as_uri(), str(error) or type(error).__name__) from error


_celery_revoke = worker_control.revoke


def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any) -> Any:
    """The worker's side of a revoke that came by broadcast, from Flower or another program."""
    _cancel_in_thread([task_id] if isinstance(task_id, str) else list(task_id))
    return _celery_revoke(state, task_id, terminate, signal, **kwargs)


_celery_shutdown = worker_control.shutdown


def shutdown(state: Any, msg: str = "Got shutdown from remote", **kwargs: Any) -> None:
    """The worker's side of a shutdown that came by broadcast: the same as SIGTERM.

    Celery's own would end the event loop without a word to anybody: the worker would stay ``alive`` in its row, and
    nothing would bound how long its jobs may take.
    """
    if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, signal.SIG_IGN, None):
        # Within another program, which did not ask to be ended.
        _celery_shutdown(state, msg, **kwargs)
    os.kill(os.getpid(), signal.SIGTERM)


def install() -> None:
    """Put them in the place of Celery's."""
    Panel.data["shutdown"] = shutdown
    Panel.data["revoke"] = revoke
