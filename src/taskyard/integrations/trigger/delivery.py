"""From a call that is believed to the decision about its due time: the same one however often it comes."""

from __future__ import annotations

import datetime as dt
from contextlib import AbstractContextManager, nullcontext

from django.db import transaction

from taskyard.enqueue import control_alias
from taskyard.integrations.trigger.caller import Call, Caller, Refused
from taskyard.schedules.definitions.definition import Declaration
from taskyard.schedules.models import Occurrence, Schedule
from taskyard.schedules.sources.code import declared
from taskyard.schedules.targets import BUILTIN
from taskyard.schedules.trigger import anchor, trigger
from taskyard.tenancy.context import find_tenancy, tenant_context

_SHORTEST_REACH, _LONGEST_REACH = dt.timedelta(minutes=1), dt.timedelta(days=5 * 366)
_MOST = 1_000
_MOST_OF_NAME = 120


def deliver(call: Call, caller: Caller, now: dt.datetime) -> Occurrence | None:
    """What was decided about the due time that is called for; None if nothing is, because it is disabled or over.

    The due time is the last one that is not later than what the call says: clocks say it with seconds, or say when
    they tried again. It is decided once, and every later call gets that decision. Raises :class:`Refused`, and what
    :func:`taskyard.schedules.trigger.trigger` raises.
    """
    declaration = reachable(call.schedule)
    with _outside_tenants(), transaction.atomic(using=control_alias()):
        # Calls that come at once stand in line.
        row = Schedule.objects.select_for_update().get(pk=anchor(call.schedule, max(now, call.due_at)).pk)
        due_at = _due(declaration, call.due_at)
        actor = _actor(caller)
        if caller.proof and _used_before(row.pk, actor, due_at):
            raise Refused("the token was used before, for another due time")
        found = _decision(row.pk, due_at)
        if found is None:
            trigger(call.schedule, due=due_at, now=now)
            found = _decision(row.pk, due_at)
            if found is not None:
                found.actor = actor
                found.save(using=control_alias(), update_fields=["actor"])
        return found


def reachable(schedule: str) -> Declaration:
    """A declaration that clocks elsewhere may call for; raises :class:`Refused`."""
    declaration = declared().get(schedule)
    if declaration is None:
        raise Refused("the code declares no such schedule")
    if declaration.targets == (BUILTIN,) and not declaration.http_path:
        raise Refused("it is declared for the built-in scheduler only")
    return declaration


def _due(declaration: Declaration, said: dt.datetime) -> dt.datetime:
    """The last due time up to what was said."""
    reach = _SHORTEST_REACH
    while reach < _LONGEST_REACH:
        # So short at first that no recurrence, down to one of every second, has more of them.
        if dues := declaration.definition.dues(said - reach, said, limit=_MOST):
            return dues[-1].at
        reach *= 4
    raise Refused("it has no due time before that")


def _used_before(schedule: int, actor: str, due_at: dt.datetime) -> bool:
    decided = Occurrence.objects.filter(schedule=schedule, tenant="", actor=actor)
    # A token lives for an hour or so; the bound lets the index of due times answer.
    return decided.filter(due_at__gte=due_at - dt.timedelta(days=2)).exclude(due_at=due_at).exists()


def _decision(schedule: int, due_at: dt.datetime) -> Occurrence | None:
    found: Occurrence | None = Occurrence.objects.filter(schedule=schedule, tenant="", due_at=due_at).first()
    return found


def _actor(caller: Caller) -> str:
    return f"{caller.name[:_MOST_OF_NAME]} {caller.proof}".strip()


def _outside_tenants() -> AbstractContextManager[object]:
    """A request may have come in as some tenant's; schedules of the code are nobody's."""
    return nullcontext() if find_tenancy() is None else tenant_context("")
