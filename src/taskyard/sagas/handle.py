"""A saga as its starter holds it."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from typing import Any

from django.utils import timezone

from taskyard.errors import NotFound, SagaFailed, SagaNotFinished, WrongState
from taskyard.sagas.machine.events import Cancel
from taskyard.sagas.machine.outcome import Refused
from taskyard.sagas.models import Saga
from taskyard.sagas.states import AT_REST, SagaState
from taskyard.tasks.payload import encode_value
from taskyard.tenancy.context import current_tenant

_POLL_SECONDS = 0.1


class Handle:
    """Names a saga; asks the database each time."""

    def __init__(self, saga_id: uuid.UUID) -> None:
        self.id = saga_id

    def __repr__(self) -> str:
        return f"<saga {self.id}>"

    @property
    def saga(self) -> Saga:
        """Its row; raises :class:`~taskyard.errors.NotFound` while the transaction that started it is open elsewhere,
        or for another tenant's.
        """
        row: Saga | None = Saga.objects.visible_to(_tenant_here()).filter(id=self.id).first()
        if row is None:
            raise NotFound("saga", self.id)
        return row

    @property
    def state(self) -> SagaState:
        """How it stands now."""
        return SagaState(self.saga.state)

    def result(self, timeout: dt.timedelta | None = None) -> Any:
        """What it came to, waiting up to ``timeout`` (default: not at all).

        Raises :class:`~taskyard.errors.SagaFailed` for one that was compensated, was cancelled or needs attention, and
        :class:`~taskyard.errors.SagaNotFinished` for one that has not ended by then.
        """
        until = time.monotonic() + (timeout.total_seconds() if timeout else 0)
        row = self.saga
        while row.state not in AT_REST:
            if time.monotonic() >= until:
                raise SagaNotFinished(self.id, row.state)
            time.sleep(_POLL_SECONDS)
            row = self.saga
        if row.state != SagaState.COMPLETED:
            raise SagaFailed(self.id, row.state, row.stuck or row.error or {})
        return row.result

    def cancel(self) -> None:
        """Ask for it to be undone: once the step in hand has ended, what was done is compensated.

        Raises :class:`~taskyard.errors.WrongState` for one that has ended, is being compensated, or is past its pivot.
        """
        from taskyard.sagas.writing.store import tell

        try:
            tell(self.id, Cancel(), timezone.now(), tenant=_tenant_here())
        except Refused as refused:
            raise WrongState("saga", self.id, str(refused)) from refused

    def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> bool:
        """Tell it something; see :func:`signal`."""
        return signal(self.id, name, payload, key=key, tenant=_tenant_here())


def signal(
    saga_id: uuid.UUID, name: str, payload: Any = None, *, key: str | None = None, tenant: str | None = None
) -> bool:
    """Tell a saga something, in the caller's transaction on the control database.

    It is kept until a step of that name waits for it, and used once. ``key``: the sender's own; the same key a second
    time is the same signal and changes nothing (False). Raises :class:`~taskyard.errors.NotFound` for a saga that is
    not there or is not ``tenant``'s, :class:`~taskyard.errors.WrongState` for one that has ended, and
    :class:`~taskyard.errors.NotJson` for a payload that cannot be kept.
    """
    from taskyard.sagas.writing import store

    encode_value("saga", f"the payload of signal {name!r}", payload)
    try:
        return store.signal(saga_id, name, payload, key=key, now=timezone.now(), tenant=tenant)
    except Refused as refused:
        raise WrongState("saga", saga_id, str(refused)) from refused


def _tenant_here() -> str | None:
    return current_tenant() or None
