"""What the users of a tenant may define, by ``TASKYARD["USER_SCHEDULES"]``."""

from __future__ import annotations

from collections.abc import Iterator

from taskyard.errors import InvalidSchedule, PayloadError
from taskyard.schedules.definitions.definition import Definition
from taskyard.schedules.models import Schedule
from taskyard.schedules.recurrence.gap import shortest_gap
from taskyard.settings import UserSchedules, get_settings
from taskyard.tasks import registry
from taskyard.tasks.payload import encode_arguments


def admit(row: Schedule, wanted: Definition) -> None:
    """Give a schedule of a tenant's users its place; raises :class:`~taskyard.errors.InvalidSchedule` if it may not be.

    The places of a tenant are numbered up to the most it may have, and a unique index keeps two from taking the same
    one: so no two transactions together exceed the limit. Whoever comes second has an ``IntegrityError`` on writing.
    """
    policy = _policy(row.name)
    problems = list(problems_of(wanted, policy))
    if row.slot is None:
        row.slot = free_slot(row.tenant, policy.most_per_tenant)
        if row.slot is None:
            problems.append(_no_room(row.tenant, policy))
    if problems:
        raise InvalidSchedule(row.name, problems)


def refuse(name: str, tenant: str, *, wanted: Definition) -> None:
    """Raise as :func:`admit` would, without giving a place: for those that are only on their way there."""
    policy = _policy(name)
    problems = list(problems_of(wanted, policy))
    mine = Schedule.objects.filter(tenant=tenant, slot__isnull=False)
    if not mine.filter(name=name).exists() and free_slot(tenant, policy.most_per_tenant) is None:
        problems.append(_no_room(tenant, policy))
    if problems:
        raise InvalidSchedule(name, problems)


def _policy(name: str) -> UserSchedules:
    policy = get_settings().user_schedules
    if policy is None:
        raise InvalidSchedule(name, ["TASKYARD['USER_SCHEDULES'] is not set: users of tenants may define none."])
    return policy


def _no_room(tenant: str, policy: UserSchedules) -> str:
    return (
        f"tenant {tenant!r} may have {policy.most_per_tenant} schedules of its users, disabled ones included, and has "
        "them: remove one first."
    )


def free_slot(tenant: str, most: int) -> int | None:
    """The lowest place that nobody has; None if the tenant has as many schedules as it may."""
    taken = set(Schedule.objects.filter(tenant=tenant, slot__isnull=False).values_list("slot", flat=True))
    if len(taken) >= most:
        return None
    return next(slot for slot in range(1, most + 1) if slot not in taken)


def problems_of(wanted: Definition, policy: UserSchedules) -> Iterator[str]:
    """Why users may not have that, one sentence for each reason."""
    if wanted.task not in policy.tasks:
        yield f"users may not schedule {wanted.task!r}; they may: {', '.join(policy.tasks) or 'nothing'}."
    elif (task := registry.find(wanted.task)) is not None:
        try:
            task.signature.bind(*wanted.args, **wanted.kwargs)
            encode_arguments(task.name, wanted.args, wanted.kwargs, get_settings().max_payload_bytes)
        except (TypeError, PayloadError) as error:
            yield f"{task.name}{task.signature} does not take that: {error}."
    gap = shortest_gap(wanted.recurrence)
    if gap is not None and gap < policy.shortest_interval:
        yield f"it is due again after {gap}; users may have one run in {policy.shortest_interval}."
