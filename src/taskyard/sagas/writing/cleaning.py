"""Deletes sagas that ended long ago, with all that belongs to them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from django.db import transaction

from taskyard.enqueue import control_alias
from taskyard.sagas.models import Saga, SagaEvent, SagaSignal, SagaStep
from taskyard.sagas.states import SagaState

#: They are kept as long as jobs that ended in the like.
_LIKE = {SagaState.COMPLETED: "succeeded", SagaState.COMPENSATED: "failed", SagaState.CANCELLED: "cancelled"}


def prune(now: dt.datetime, retention: Mapping[str, dt.timedelta | None], *, limit: int) -> int:
    """Delete one batch of each final state; how many sagas. One within another goes with its own end, not with that."""
    return sum(
        _prune(state, now - keep, limit) for state, like in _LIKE.items() if (keep := retention[like]) is not None
    )


def _prune(state: SagaState, until: dt.datetime, limit: int) -> int:
    alias = control_alias()
    # By its beginning, which an index has with the state.
    old = Saga.objects.visible_to(None).filter(state=state, created_at__lt=until, finished_at__lt=until)
    ids = list(old.order_by("created_at").values_list("id", flat=True)[:limit])
    if not ids:
        return 0
    with transaction.atomic(using=alias):
        # Asked again, under a lock: an operator may have had it compensated meanwhile.
        ids = list(old.filter(id__in=ids).select_for_update().values_list("id", flat=True))
        for model in (SagaStep, SagaEvent, SagaSignal):
            model._default_manager.using(alias).filter(saga__in=ids)._raw_delete(alias)
        Saga.objects.using(alias).filter(id__in=ids)._raw_delete(alias)
    return len(ids)
