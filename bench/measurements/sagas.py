"""What a saga costs over calling its functions, and how many get through."""

import functools
import random
from argparse import Namespace
from typing import Any

from bench.contestants import Contestant
from bench.stage import Stage, Theatre

STEPS = 5
#: Of a hundred sagas, so many have a step that fails.
FAILING_PERCENT = 20
#: Sagas run inline, each in turn with direct calls of its functions.
INLINE = 200
LEFT = "SELECT count(*) FROM taskyard_saga WHERE finished_at IS NULL"
#: Of those that waited for workers: the time from the first step's start to the last end, and how they ended.
SPAN = (
    "SELECT extract(epoch FROM (SELECT max(finished_at) FROM taskyard_saga)"
    " - (SELECT min(started_at) FROM taskyard_sagastep)),"
    " (SELECT count(*) FROM taskyard_saga WHERE state = 'completed'),"
    " (SELECT count(*) FROM taskyard_saga WHERE state = 'compensated'),"
    " (SELECT sum(attempt + compensation_attempt) FROM taskyard_sagastep)"
)


def sagas(theatre: Theatre, contestant: Contestant, options: Namespace) -> dict[str, Any]:
    """First many that wait for workers, then one after another in one process, in turns with the bare functions."""
    count = 20 if theatre.is_quick else options.sagas
    chance = random.Random(count)
    fails = [chance.randrange(STEPS) if chance.randrange(100) < FAILING_PERCENT else -1 for _ in range(count)]
    with theatre.stage(contestant) as stage:
        stage.ask("start_sagas", fails=fails)
        stage.start_workers()
        left = count
        while left:
            stage.wait_for(functools.partial(_are_fewer, stage, left), "a saga to end")
            left = _left(stage)
        seconds, completed, compensated, calls = stage.sql(SPAN)[0]
        stage.stop_workers()
        failing = sum(at >= 0 for at in fails)
        if (completed, compensated) != (count - failing, failing):
            raise RuntimeError(
                f"{completed} completed and {compensated} compensated of {count}, of which {failing} fail"
            )
        added, own = stage.ask("time_sagas", count=10 if theatre.is_quick else INLINE)
    return {"rate": count / float(seconds), "calls": int(calls) / float(seconds), "added_ms": added, "own_ms": own}


def _left(stage: Stage) -> int:
    return int(stage.sql(LEFT)[0][0])


def _are_fewer(stage: Stage, before: int) -> bool:
    return _left(stage) < before
