"""From the first call to the last end, and from each call to its start."""

from argparse import Namespace
from typing import Any

from bench.contestants import Contestant
from bench.stage import Stage, Theatre

#: Jobs a second that leave every contestant idle in between; not a divisor of any polling interval.
IDLE_RATE = 9.7


def end_to_end(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """Workers wait; then one producer sends as fast as it can while they work."""
    count = max(10, int(options.jobs * contestant.share))
    with theatre.stage(contestant) as stage:
        stage.start_workers(ready=True)
        return {"rate": burst(stage, count)}


def burst(stage: Stage, count: int) -> float:
    """Jobs per second from the first enqueue to the last end."""
    stage.forget()
    stage.tell("enqueue", task="append", count=count)
    ended = stage.wait(count)
    return float(count / ((ended - stage.answer()["started_ns"]) / 1e9))


def latency(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """Each job carries the moment before its own call; the function writes down when it began."""
    with theatre.stage(contestant) as stage:
        stage.start_workers(ready=True)
        idle = paced(stage, IDLE_RATE, options.seconds)
        rate = burst(stage, max(10, int(options.jobs * contestant.share / 4))) / 2
        half = paced(stage, rate, options.seconds)
    return {
        **{f"idle_{key}": value for key, value in idle.items()},
        "half_rate": rate,
        **{f"half_{key}": value for key, value in half.items()},
    }


def paced(stage: Stage, rate: float, seconds: float) -> dict[str, float]:
    stage.forget()
    count = stage.ask("pace", rate=rate, seconds=seconds)["count"]
    stage.wait_for(lambda: len(stage.stamps()) >= count, f"{count} stamps")
    took = sorted((started - sent) / 1e6 for sent, started in stage.stamps())
    return {"p50_ms": took[len(took) // 2], "p99_ms": took[int(0.99 * (len(took) - 1))], "max_ms": took[-1]}
