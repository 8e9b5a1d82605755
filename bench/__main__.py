"""`python -m bench [measurement ...]`: measure, show, and with --save write RESULTS.md and what it is made from."""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from bench import report, results
from bench.contestants import CONTESTANTS
from bench.measurements import MEASUREMENTS
from bench.run import run

#: Option -> value for a measurement, value for a smoke run, what it is.
OPTIONS: dict[str, tuple[float, float, str]] = {
    "rounds": (3, 1, "rounds, in which contestants take turns"),
    "jobs": (20_000, 200, "jobs of a round (the slowest contestants get a share of them)"),
    "few": (10_000, 200, "growth: jobs waiting in the small case, and drained in both"),
    "many": (1_000_000, 2_000, "growth: jobs waiting in the large case; enqueue_many: rows"),
    "sagas": (1_000, 20, "sagas: how many"),
    "tenants": (10_000, 1_000, "fanout: how many; ten times as many for its memory"),
    "window": (10, 1, "fanout: minutes of the window"),
    "schedules": (1_000_000, 2_000, "schedules: how many there are"),
    "due": (1_000, 20, "schedules: how many of them are due in each second"),
    "age": (100_000, 200, "snapshot: jobs drained while it is open, before the clock starts"),
    "seconds": (30, 2, "latency: how long each load lasts"),
    "idle_seconds": (60, 2, "idle: how long"),
    "minutes": (60, 0.1, "sustained: how long"),
    "retention": (60, 1, "sustained: seconds a finished job is kept"),
    "cycles": (3, 1, "outage: how often the broker goes and comes"),
    "budget": (10, 2, "outage: seconds the calls of one turn may take"),
}


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("measurements", nargs="*", metavar="measurement", help=", ".join(MEASUREMENTS))
    parser.add_argument("--only", help="contestants, with commas between them: " + ", ".join(CONTESTANTS))
    parser.add_argument(
        "--save", type=Path, nargs="?", const=report.HERE, metavar="FOLDER",
        help="put what was measured into results.json, RESULTS.md and charts/ there (default: bench/)",
    )  # fmt: skip
    parser.add_argument(
        "--more", action="store_true",
        help="with --save: add these rounds to those that are saved, which were measured in the same way",
    )  # fmt: skip
    parser.add_argument("--report", action="store_true", help="measure nothing; with --save, write RESULTS.md again")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny counts, few contestants")
    for name, (full, quick, help_text) in OPTIONS.items():
        shown = f"{help_text} (default: {full:,g}; quick: {quick:,g})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(full) if name != "minutes" else float, help=shown)
    options = parser.parse_args(words)
    for name, (full, quick, _) in OPTIONS.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    options.only = options.only.split(",") if options.only else []
    for given, known in ((options.measurements, MEASUREMENTS), (options.only, CONTESTANTS)):
        if set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(set(given) - set(known)))}; there are: {', '.join(known)}")
    return options


def main(words: list[str]) -> int:
    options = parse(words)
    # Ended from outside, it still takes its workers, databases and virtual hosts along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = False
    for name in options.measurements or ([] if options.report else MEASUREMENTS):
        about = results.circumstances(words, {key: getattr(options, key) for key in OPTIONS})
        before = results.read(options.save).get(name) if options.save and options.more else None
        if before:
            # Now: not after it was measured.
            results.refuse_other_rounds(before, about)
        found = about | run(name, options)
        failed = failed or bool(found["failed"])
        show(found)
        if options.save:
            # Read again each time: a long run must not undo what another one wrote meanwhile.
            saved = results.added(before, found) if before else found
            results.write(options.save, results.read(options.save) | {name: saved})
    if options.save:
        report.write(options.save, results.read(options.save))
        print(f"Written: {options.save / 'RESULTS.md'}")
    return 1 if failed else 0


def show(results: dict[str, Any]) -> None:
    columns = MEASUREMENTS[results["name"]].columns
    for name in results["contestants"]:
        taken = [one[name] for one in results["rounds"] if name in one]
        cells = [f"{heading} {report.spread([one[key] for one in taken])}" for key, heading in columns.items() if taken]
        print(f"  {name:<28} {'; '.join(cells) or 'did not take part'}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
