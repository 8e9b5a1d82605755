"""``python -m tests.simulation``: many seeds, or one seed and its story."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence

_PROGRESS_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if no seed broke a promise, else 1."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    if options.seed is None and options.processes > 1:
        return _in_processes(options)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    warnings.simplefilter("error")
    import django

    django.setup()
    logging.disable(logging.CRITICAL)
    if options.planted:
        return _plant_all(options)
    return _run(options) if options.seed is None else _tell(options)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed only and print its story")
    parser.add_argument("--first", type=int, default=0, help="first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=100_000, help="how many (default 100,000)")
    parser.add_argument("--processes", type=int, default=1, help="share the seeds among so many processes")
    parser.add_argument("--variant", help="plant this fault into the core (see variants.py)")
    parser.add_argument("--planted", action="store_true", help="plant each fault of variants.py until it is found")
    parser.add_argument("--digests", action="store_true", help="print the digest of each seed's history")
    return parser.parse_args(arguments)


def _in_processes(options: argparse.Namespace) -> int:
    share = -(-options.seeds // options.processes)
    firsts = range(options.first, options.first + options.seeds, share)
    running = [
        subprocess.Popen(
            [
                sys.executable, "-m", "tests.simulation", "--first", str(first),
                "--seeds", str(min(share, options.first + options.seeds - first)),
                *(("--variant", options.variant) if options.variant else ()),
            ]
        )
        for first in firsts
    ]  # fmt: skip
    return max(process.wait() for process in running)


def _tell(options: argparse.Namespace) -> int:
    from tests.simulation.run import Simulator
    from tests.simulation.variants import planted

    with planted(options.variant):
        result = Simulator().run(options.seed)
    print(result.story())
    print(f"history {result.digest()}")
    print(f"seed {result.seed}: {result.violation or 'every promise held'}")
    return 1 if result.violation else 0


def _plant_all(options: argparse.Namespace) -> int:
    """One line for each fault; exit code 1 if one of them was not found."""
    from tests.simulation.run import Simulator
    from tests.simulation.variants import VARIANTS, planted

    simulator, missed = Simulator(), 0
    for name in VARIANTS:
        verdict = f"not found in {options.seeds} seeds"
        for seed in range(options.first, options.first + options.seeds):
            with planted(name):
                violation = simulator.run(seed).violation
            if violation:
                verdict = f"seed {seed}: {violation}"
                break
        else:
            missed += 1
        print(f"{name}: {verdict}", flush=True)
    return 1 if missed else 0


def _run(options: argparse.Namespace) -> int:
    from tests.simulation.run import Simulator
    from tests.simulation.variants import planted

    simulator, started = Simulator(), time.monotonic()
    shown, counts = started, dict[str, float]()
    # A world is one heap of cycles, thrown away as a whole.
    gc.freeze()
    gc.disable()
    for done, seed in enumerate(range(options.first, options.first + options.seeds), 1):
        with planted(options.variant):
            result = simulator.run(seed)
        if options.digests:
            print(f"seed {seed}: history {result.digest()}")
        for what, number in (*result.counts.items(), ("hours of virtual time", result.seconds / 3600)):
            counts[what] = counts.get(what, 0) + number
        if result.violation:
            replay = f"--variant {options.variant} --seed {seed}" if options.variant else f"make simulate SEED={seed}"
            print(f"{result.story()}\nseed {seed}: {result.violation}\nreplay: {replay}", flush=True)
            return 1
        if done % 100 == 0:
            gc.collect()
        if time.monotonic() - shown > _PROGRESS_SECONDS:
            shown = time.monotonic()
            _progress(options.first, done, options.seeds, shown - started)
    _progress(options.first, options.seeds, options.seeds, time.monotonic() - started)
    print("; ".join(f"{number:,.0f} {what}" for what, number in sorted(counts.items())), flush=True)
    return 0


def _progress(first: int, done: int, seeds: int, seconds: float) -> None:
    rate = done / max(seconds, 1e-9)
    print(f"{done:,} of {seeds:,} seeds from {first:,}: every promise held, {rate:.1f} seeds/s", flush=True)
