"""What tenants get of the same workers, told from the rows: when each job began, and how long it took."""

import statistics
from argparse import Namespace
from collections import defaultdict
from typing import Any

from bench.contestants import PYTHON, Contestant
from bench.measurements.drain import work_off
from bench.stage import Stage, Theatre

SLOTS = 12
#: 5 to 50 ms, in no order; their mean is 27.5.
LENGTHS = [0.005 * (number * 7 % 10 + 1) for number in range(10)]
#: Fairness is told over any so many seconds.
WINDOW_SECONDS = 10
#: Until what jobs cost is known, and workers are up.
WARM_UP_SECONDS = 3.0
NEWCOMERS = 10
PARTS = 1000

#: Tenant, begin in seconds, run time in seconds.
Run = tuple[str, float, float]


def fairness(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    equal = [f"tenant-{number}" for number in range(9)]
    runs = shared(theatre, contestant, dict.fromkeys(equal, 1.0), seconds=max(options.seconds, WINDOW_SECONDS))
    weights = {"one": 1.0, "three": 3.0, "six": 6.0}
    weighted = settled(shared(theatre, contestant, weights, seconds=options.seconds))
    return {
        "jain": min(jain(list(spent.values())) for spent in windows(runs, equal)),
        "weights_off": off_by(weighted, weights),
        "starts": len(weighted) / max(1e-9, weighted[-1][1] - weighted[0][1]),
        "newcomer_s": newcomer(theatre, contestant, options),
        "parts": in_parts(theatre, contestant, options),
        **alone(theatre, contestant, options),
    }


def shared(theatre: Theatre, contestant: Contestant, weights: dict[str, float], *, seconds: float) -> list[Run]:
    """Every tenant has more work than can be done in that time."""
    with theatre.stage(contestant) as stage:
        enough = int((seconds + WARM_UP_SECONDS) * SLOTS / sum(LENGTHS)) + 10
        for tenant, weight in weights.items():
            stage.ask("limit", tenant=tenant, weight=weight)
            flood(stage, tenant, times=enough)
        return watch(stage, seconds)


def flood(stage: Stage, tenant: str, *, times: int, task: str = "rest", parts: int = 0) -> None:
    calls = [{"seconds": seconds} for seconds in LENGTHS]
    if parts:
        calls = [{"seconds": LENGTHS[n % len(LENGTHS)], "key": str(n)} for n in range(parts)]  # type: ignore[misc]
        times = max(1, times * len(LENGTHS) // parts)
    stage.ask("flood", name=task, tenant=tenant, calls=calls, times=times)


def start(stage: Stage) -> None:
    command = (*PYTHON, "celery", "-A", "taskyard", "worker", "-c", str(SLOTS), "-l", "warning", "-n", "{name}@%h")
    stage.start_worker(command)


def watch(stage: Stage, seconds: float) -> list[Run]:
    stage.sql("ANALYZE")
    start(stage)
    stage.wait_for(lambda: bool(count(stage)), "the first job")
    began = stage.sql("SELECT MIN(started_at) FROM taskyard_job")[0][0]
    stage.wait_for(
        lambda: stage.sql(f"SELECT now() - '{began}' > interval '{seconds + WARM_UP_SECONDS} s'")[0][0], "its end"
    )
    return runs_of(stage)


def count(stage: Stage) -> int:
    return int(stage.sql("SELECT COUNT(*) FROM taskyard_job WHERE finished_at IS NOT NULL")[0][0])


def runs_of(stage: Stage) -> list[Run]:
    rows = stage.sql(
        "SELECT tenant, EXTRACT(EPOCH FROM started_at)::float8, EXTRACT(EPOCH FROM finished_at - started_at)::float8"
        " FROM taskyard_job WHERE state = 'succeeded' ORDER BY started_at"
    )
    return [(tenant, began, took) for tenant, began, took in rows]


def settled(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run[1] - runs[0][1] >= WARM_UP_SECONDS]


def spent_by(runs: list[Run]) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for tenant, _, took in runs:
        spent[tenant] += took
    return spent


def windows(runs: list[Run], tenants: list[str]) -> list[dict[str, float]]:
    """What each spent in any ten seconds, one window beginning each half second."""
    found, begin, end = [], runs[0][1], runs[-1][1]
    while begin + WINDOW_SECONDS <= end:
        spent = spent_by([run for run in runs if begin <= run[1] < begin + WINDOW_SECONDS])
        found.append({tenant: spent.get(tenant, 0.0) for tenant in tenants})
        begin += 0.5
    return found


def jain(values: list[float]) -> float:
    """Jain, Chiu, Hawe 1984: 1 where all are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def off_by(runs: list[Run], weights: dict[str, float]) -> float:
    """How far the share of any tenant is from its weight, as a part of that."""
    spent = spent_by(runs)
    whole, weight = sum(spent.values()), sum(weights.values())
    return max(abs(spent[tenant] / whole / (weights[tenant] / weight) - 1) for tenant in weights)


def newcomer(theatre: Theatre, contestant: Contestant, options: Namespace) -> float:
    """The longest wait of several newcomers, one after the other, beyond two mean run times."""
    with theatre.stage(contestant) as stage:
        flood(stage, "flood", times=max(1, options.many // len(LENGTHS) // 10))
        start(stage)
        stage.wait_for(lambda: count(stage) > 200, "the flood")
        waits = []
        for number in range(NEWCOMERS):
            stage.ask("flood", name="rest", tenant=f"new-{number}", calls=[{"seconds": 0.0}], times=1)
            waits.append(waited(stage, f"new-{number}"))
        took = [run[2] for run in runs_of(stage) if run[0] == "flood"]
        if not stage.sql("SELECT 1 FROM taskyard_job WHERE lane = 1 AND tenant = 'flood' LIMIT 1"):
            raise AssertionError("the flood ended before the newcomers came")
    return max(waits) - 2 * sum(took) / len(took)


def waited(stage: Stage, tenant: str) -> float:
    ended = f"FROM taskyard_job WHERE tenant = '{tenant}' AND finished_at IS NOT NULL"
    stage.wait_for(lambda: bool(stage.sql(f"SELECT 1 {ended}")), f"the job of {tenant}")
    return float(stage.sql(f"SELECT EXTRACT(EPOCH FROM started_at - created_at)::float8 {ended}")[0][0])


def in_parts(theatre: Theatre, contestant: Contestant, options: Namespace) -> float:
    """What a flood under a thousand keys gets, against a quarter."""
    others = ["b", "c", "d"]
    with theatre.stage(contestant) as stage:
        enough = int((options.seconds + WARM_UP_SECONDS) * SLOTS / sum(LENGTHS)) + 10
        flood(stage, "a", times=max(enough, PARTS // len(LENGTHS)), task="rest_keyed", parts=PARTS)
        for tenant in others:
            flood(stage, tenant, times=enough)
        spent = spent_by(settled(watch(stage, options.seconds)))
    return spent["a"] / sum(spent.values()) * (len(others) + 1)


def alone(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, float]:
    """CPU of the workers per job of one tenant, with and without looking for others: in turns, medians of each."""
    spent: dict[str, list[float]] = {"": [], "1": []}
    # There and back, so that a machine that grows slower or faster favours neither.
    for switch in ("", "1", "1", "", "", "1"):
        with theatre.stage(contestant) as stage:
            stage.environment["BENCH_UNFAIR"] = switch
            stage.ask("flood", name="append", tenant="a", calls=[{"_": 0}] * 10, times=options.jobs // 10)
            stage.sql("ANALYZE")
            spent[switch].append(work_off(stage, options.jobs)["cpu_ms"])
    fair, unfair = (statistics.median(spent[switch]) for switch in ("", "1"))
    return {"alone_cpu_ms": fair, "unfair_cpu_ms": unfair, "alone": fair / unfair}
