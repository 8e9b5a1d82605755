"""Rounds in which the contestants take turns, so that what else the machine does hits all of them alike."""

from argparse import Namespace
from typing import Any

from bench.contestants import CONTESTANTS
from bench.measurements import MEASUREMENTS
from bench.stage import Stuck, Theatre, Unable


def run(name: str, options: Namespace) -> dict[str, Any]:
    """Every round of one measurement; contestants that cannot take part are said aloud and kept in the results."""
    measurement = MEASUREMENTS[name]
    default = measurement.quick if options.quick else measurement.contestants
    chosen = [one for one in options.only if one in measurement.contestants] if options.only else list(default)
    left_out: dict[str, str] = {}
    failed: dict[str, str] = {}
    rounds: list[dict[str, Any]] = []
    print(measurement.title, flush=True)
    with Theatre(is_quick=options.quick) as theatre:
        for number in range(1 if measurement.once else options.rounds):
            taken: dict[str, Any] = {}
            # Whoever begins a round begins another one last.
            turn = number % max(1, len(chosen))
            for one in chosen[turn:] + chosen[:turn]:
                if one in left_out or one in failed:
                    continue
                try:
                    taken[one] = measurement.measure(theatre, CONTESTANTS[one], options)
                except Unable as error:
                    left_out[one] = str(error)
                    print(f"  LEFT OUT {one}: {error}", flush=True)
                except Stuck as error:
                    failed[one] = str(error)
                    print(f"  FAILED {one}: {error}", flush=True)
                else:
                    print(f"  round {number + 1}: {one} {brief(taken[one])}", flush=True)
            rounds.append(taken)
    return {"name": name, "contestants": chosen, "rounds": rounds, "left_out": left_out, "failed": failed}


def brief(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={value:,.4g}" for key, value in values.items() if isinstance(value, (int, float)))
