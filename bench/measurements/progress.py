"""What reporting progress costs the task that reports."""

import json
import time
from argparse import Namespace
from statistics import median
from typing import Any

from bench.contestants import Contestant
from bench.stage import Theatre

#: Items of the task in a second, each of which reports.
RATE = 100_000
#: Turns of each way to work, of a tenth of a second: short, so that what else the machine does hits all ways alike.
TURNS = 60
LOOK_SECONDS = 0.05


def progress(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """The same work with and without reports, in turns; a look every 50 ms counts the writes that show."""
    plan = {"items": RATE // 10, "rate": RATE, "turns": 3 if theatre.is_quick else TURNS}
    seen: set[Any] = set()
    found: dict[str, Any] = {}

    def is_over() -> bool:
        time.sleep(LOOK_SECONDS)
        rows = stage.sql("SELECT state, result, progress_at FROM taskyard_job WHERE task LIKE '%.report'")
        for state, result, at in rows:
            seen.update([at] if at else [])
            found.update(json.loads(result) if state == "succeeded" else {})
        return bool(found)

    with theatre.stage(contestant) as stage:
        stage.start_workers(ready=True)
        stage.ask("send", task="report", value=plan)
        stage.wait_for(is_over, "the job that reports")
    return {
        "rate": plan["items"] / median(found["silent"]),
        **{f"{way}_percent": (added(found, way) + found["beside"]) * 100 for way in ("progress", "track")},
        "writes": len(seen) / found["clock"],
    }


def added(found: dict[str, Any], way: str) -> float:
    """Its share, from turns that follow each other; what the thread that writes takes comes on top."""
    return median(one / silent for one, silent in zip(found[way], found["silent"], strict=True)) - 1
