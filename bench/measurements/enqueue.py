"""What sending jobs costs whoever sends them."""

from argparse import Namespace
from typing import Any

from bench.contestants import PYTHON, Contestant
from bench.stage import NoAnswer, Stage, Theatre


def one_by_one(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """One call after another, each in a transaction of its own where there are any; no worker runs."""
    with theatre.stage(contestant) as stage:
        stage.ask("warm_up", task="append")
        sent = stage.ask("enqueue", task="append", count=options.jobs)
        return {
            "rate": sent["count"] / sent["seconds"],
            "cpu_ms": sent["cpu"] * 1000 / sent["count"],
            "p50_us": sent["p50_us"],
            "p99_us": sent["p99_us"],
        }


def many(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """`enqueue_many` of all in one call, into an empty table; its memory against that of a tenth of the jobs."""
    found: dict[str, Any] = {}
    for key, task in (("plain", "append"), ("unique", "keyed")):
        with theatre.stage(contestant) as stage:
            tenth = stage.ask("fill", task=task, count=options.many // 10)
        with theatre.stage(contestant) as stage:
            full = stage.ask("fill", task=task, count=options.many)
            written = stage.sql("SELECT count(*) FROM taskyard_job")[0][0]
            assert written == options.many, f"{written} rows of {options.many}"
        found[f"{key}_rate"] = options.many / full["seconds"]
        found[f"{key}_peak_mb"] = full["peak_kb"] / 1024
        found[f"{key}_growth_mb"] = (full["peak_kb"] - tenth["peak_kb"]) / 1024
    return found


def fanout(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """A call for each tenant: never seen before, once more, and ten times as many for the memory."""
    found: dict[str, Any] = {}
    with theatre.stage(contestant) as stage:
        # What a process does once (imports, the first connection) is not the fan-out's.
        stage.ask("warm_up", task="append")
        for key in ("first", "again"):
            stage.sql("TRUNCATE taskyard_job CASCADE")
            done = stage.ask("fan_out", task="append", count=options.tenants, minutes=options.window)
            found[f"{key}_s"] = done["seconds"]
            found[f"{key}_peak"] = busiest(stage) * options.window * 60 / options.tenants
    with theatre.stage(contestant) as stage:
        stage.ask("warm_up", task="append")
        more = stage.ask("fan_out", task="append", count=options.tenants * 10, minutes=options.window)
        assert stage.sql("SELECT count(*) FROM taskyard_job WHERE tenant <> ''")[0][0] == options.tenants * 10
    found["more_s"], found["growth_mb"] = more["seconds"], (more["peak_kb"] - done["peak_kb"]) / 1024
    return found


def busiest(stage: Stage) -> int:
    """Jobs of the busiest second of the window."""
    second = "floor(extract(epoch FROM available_at - created_at))"
    return int(stage.sql(f"SELECT count(*) FROM taskyard_job GROUP BY {second} ORDER BY 1 DESC LIMIT 1")[0][0])


def outage(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """Calls while the broker is up, gone and frozen, in turns; agents run that would like to publish."""
    calls: dict[str, list[dict[str, Any]]] = {"up": [], "down": [], "frozen": []}
    with theatre.stage(contestant) as stage:
        if contestant.module == "taskyard_jobs":
            stage.start_worker((*PYTHON, "taskyard", "scheduler"))
        stage.ask("warm_up", task="append")
        for state in ("up", "down", "up", "frozen") * options.cycles:
            calls[state].append(calls_while(theatre, stage, state, options))
    found: dict[str, Any] = {}
    for state, answers in calls.items():
        sent, errors = (sum(answer[key] for answer in answers) for key in ("count", "errors"))
        found[f"{state}_us"] = sum(answer["seconds"] for answer in answers) * 1e6 / max(1, sent)
        found[f"{state}_errors"] = errors
    return {**found, **{f"{state}_ratio": found[f"{state}_us"] / found["up_us"] for state in ("down", "frozen")}}


def calls_while(theatre: Theatre, stage: Stage, state: str, options: Namespace) -> dict[str, Any]:
    redis = theatre.redis
    {"up": redis.start, "down": redis.kill, "frozen": redis.freeze}[state]()
    try:
        stage.tell("enqueue", task="append", count=max(10, options.jobs // 10), budget=options.budget)
        answer: dict[str, Any] = stage.answer(timeout=options.budget * 3)
    except NoAnswer:
        # One call that had not come back by then.
        stage.replace_producer()
        answer = {"count": 1, "errors": 1, "seconds": options.budget * 3.0}
    finally:
        redis.thaw()
        redis.start()
    return answer
