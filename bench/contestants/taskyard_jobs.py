"""Taskyard: a row per job in PostgreSQL, on any broker or none."""

import dataclasses
import os
import time
from datetime import timedelta
from typing import Any

from bench import work
from taskyard import enqueue_many, task
from taskyard.sagas import Orchestrator, orchestrator, step
from taskyard.tasks.task import TaskOptions
from taskyard.tenancy import enqueue_for_tenants

# What a variant says in `@task(...)`: nothing, pack=True or tracked=False.
OPTIONS = {"pack": {"pack": True}, "untracked": {"tracked": False}}.get(os.environ.get("BENCH_VARIANT", ""), {})


def missing() -> str:
    """Why this variant cannot run with this version, or nothing."""
    unknown = set(OPTIONS) - {field.name for field in dataclasses.fields(TaskOptions)}
    return f"@task has no {', '.join(sorted(unknown))} yet" if unknown else ""


if not missing():
    append = task(**OPTIONS)(work.append)
    stamp = task(**OPTIONS)(work.stamp)
    hold = task(**OPTIONS)(work.hold)
    rest = task(**OPTIONS)(work.rest)

if os.environ.get("BENCH_UNFAIR"):
    # What fair share costs one tenant is told by a feeder that looks for no others.
    from taskyard.outbox import window
    from taskyard.outbox.share import turns

    turns.Backlog._has_others = lambda *_: False  # type: ignore[method-assign]
    window.SHARED_SECONDS = window.HALF_A_SECOND


@task
def report(plan: dict[str, int]) -> dict[str, Any]:
    """So many turns of so many items, each of which takes a share of a second."""
    from taskyard import current_job

    return work.items(current_job(), plan["items"], work.spins_for(1 / plan["rate"]), plan["turns"])


STEPS = 5


def _saga_step(number: int, fails: int) -> int:
    work.append(number)
    if number == fails:
        raise ValueError(number)
    return number


def _declared(number: int) -> Any:
    def run(self: Any, context: Any, fails: int) -> int:
        return _saga_step(number, fails)

    def undo(self: Any, context: Any, result: Any) -> None:
        work.append(number)

    made = step(run)
    made.rollback(undo)
    return made


def _saga(name: str, steps: int) -> Any:
    return orchestrator(name)(type(name, (Orchestrator,), {f"step{n}": _declared(n) for n in range(steps)}))


Bytes, MoreBytes = _saga("bytes", STEPS), _saga("more-bytes", 2 * STEPS)


@task(unique="number")
def keyed(number: int) -> None:
    """Only enqueued, never run: what unique keys cost."""


@task(unique="key")
def rest_keyed(seconds: float, key: str) -> None:
    """The same, with a key: a flood in many parts."""
    work.rest(seconds)


def set_up() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def enqueue(name: str, value: int) -> None:
    # A message without a row is sent in Celery's words.
    send = globals()[name].enqueue if OPTIONS.get("tracked", True) else globals()[name].delay
    send(value)


def fill(name: str, count: int) -> None:
    if OPTIONS.get("tracked", True):
        argument = next(iter(globals()[name].signature.parameters))
        globals()[name].enqueue_many({argument: number} for number in range(count))
    else:
        for number in range(count):
            enqueue(name, number)


def fan_out(name: str, count: int, minutes: float) -> None:
    """A call for each tenant, spread over a window; the rest of what a fan-out is, no other system has."""
    argument = next(iter(globals()[name].signature.parameters))
    names = (f"tenant_{number}" for number in range(count))
    enqueue_for_tenants(globals()[name], {argument: 1}, tenants=names, spread=timedelta(minutes=minutes))


def flood(name: str, tenant: str, calls: list[dict[str, Any]], times: int) -> int:
    """Jobs of a tenant: these calls, so many times over."""
    keyed = name == "rest_keyed"
    many = ({**call, **({"key": f"{call['key']}/{n}"} if keyed else {})} for n in range(times) for call in calls)
    return enqueue_many(globals()[name].using(tenant=tenant), many).created


def limit(tenant: str, weight: float) -> None:
    from taskyard.models import TenantSetting

    TenantSetting.objects.limit(tenant, weight=weight)


def start_sagas(fails: list[int]) -> None:
    """A saga for each, waiting for workers; the step of that number fails."""
    for at in fails:
        Bytes.start(fails=at)


def time_saga() -> tuple[float, float, float]:
    """Seconds of its functions alone, of a saga of them inline, and of one of twice as many."""
    started = time.perf_counter()
    for number in range(STEPS):
        _saga_step(number, -1)
    direct = time.perf_counter()
    Bytes.run_inline(fails=-1)
    short = time.perf_counter()
    MoreBytes.run_inline(fails=-1)
    return direct - started, short - direct, time.perf_counter() - short


def schedule(name: str, seconds: int) -> None:
    from taskyard.schedules import Every, Schedule

    # Nobody runs its jobs: none is in the way of the next one.
    Schedule.objects.define(
        name=name, task=append, args=[1], recurrence=Every(timedelta(seconds=seconds)), overlap="allow", enabled=True
    )
