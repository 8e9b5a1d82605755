"""Pausing, resuming and limiting: the same for queues and for tenants."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from taskyard.jobs.redaction import redact_text
from taskyard.operations.acting.actor import Actor
from taskyard.operations.acting.entries import Deed, together, write_down
from taskyard.outbox.models import QueueSetting, TenantSetting

_ROWS: dict[str, Any] = {"queue": QueueSetting.objects, "tenant": TenantSetting.objects}
_SAID = ("weight", "max_running", "rate", "rate_seconds")


def pause(actor: Actor, kind: str, *, names: Sequence[str], reason: str) -> int:
    """Hold them back; how many were not paused before. One entry for each."""
    with together():
        before = _paused(kind, names)
        changed: int = _ROWS[kind].pause(names, timezone.now(), by=actor.name[:150], reason=redact_text(reason)[:500])
        _write_each(actor, kind, "pause", before={name: name in before for name in names}, reason=reason)
    return changed


def resume(actor: Actor, kind: str, *, names: Sequence[str], reason: str) -> int:
    """Let them go; how many were paused. One entry for each."""
    with together():
        before = _paused(kind, names)
        changed: int = _ROWS[kind].resume(names)
        _write_each(actor, kind, "resume", before={name: name in before for name in names}, reason=reason)
    return changed


def limit(actor: Actor, kind: str, *, name: str, per: dt.timedelta, said: dict[str, Any]) -> Any:
    """Change what is given; the row of settings. Raises :class:`~taskyard.errors.InvalidLimit`."""
    with together():
        before = _ROWS[kind].filter(pk=name).first()
        row = _ROWS[kind].limit(name, per=per, **said)
        deed = Deed(
            target=name, tenant=name if kind == "tenant" else "", before=before and _limits(before), after=_limits(row)
        )
        write_down(actor, kind, "limit", deed)
    return row


def _paused(kind: str, names: Sequence[str]) -> set[str]:
    return set(_ROWS[kind].paused().filter(pk__in=names).values_list("pk", flat=True))


def _write_each(actor: Actor, kind: str, verb: str, *, before: dict[str, bool], reason: str) -> None:
    is_paused = verb == "pause"
    for name, was_paused in before.items():
        deed = Deed(
            target=name, tenant=name if kind == "tenant" else "", count=was_paused != is_paused, reason=reason,
            before={"paused": was_paused}, after={"paused": is_paused},
        )  # fmt: skip
        write_down(actor, kind, verb, deed)


def _limits(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SAID if hasattr(row, name)}
