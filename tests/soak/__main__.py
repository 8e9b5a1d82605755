"""``python -m tests.soak``: see the package."""

import argparse
import random
import sys

from tests.soak.plan import BROKERS, DATABASES, Options
from tests.soak.run import Run, clean_environment, judge
from tests.soak.stage import new_folder, remove_folder, stage
from tests.soak.table import HEADER, describe, dump, markdown


def parse(words: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random faults under load, then a check.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--broker", choices=BROKERS, default="database")
    parser.add_argument("--db", choices=DATABASES, default="postgres")
    parser.add_argument("--seed", type=int, default=None, help="default: a random one, printed")
    parser.add_argument("--jobs", type=int, default=None, help="default: 90 for each second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--timings", choices=("short", "default"), default="short",
                        help="short: lost workers are noticed after 6 s; default: as shipped")  # fmt: skip
    parser.add_argument("--slice", action="store_true", help="only faults that are over within seconds")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a clean run too")
    given = parser.parse_args(words)
    seconds = given.minutes * 60
    return Options(
        seed=given.seed if given.seed is not None else random.SystemRandom().randrange(10**6),
        broker=given.broker, database=given.db, seconds=seconds,
        jobs=given.jobs if given.jobs is not None else int(seconds * 90), workers=given.workers,
        is_default_timed=given.timings == "default", is_short=given.slice, is_kept=given.keep,
    )  # fmt: skip


def say(line: str) -> None:
    print(line, flush=True)


def main(words: list[str]) -> int:
    clean_environment()
    options = parse(words)
    folder = new_folder()
    say(f"soak: seed {options.seed}, {options.broker} and {options.database}, {options.seconds:.0f} s,"
        f" {options.jobs:,} jobs; everything it writes is in {folder}")  # fmt: skip
    with stage(options, folder) as made:
        result = Run(made, say).go()
        judge(made, result)
        lines = [*describe(result), *(f"  TROUBLE {trouble}" for trouble in result.troubles)]
        evidence = dump(result, made.project.history_file)
    say("\n".join([*lines, HEADER, markdown(result)]))
    is_clean = result.report.is_clean and not result.troubles
    if is_clean:
        if not options.is_kept:
            remove_folder(folder)
        say("soak: nothing lost, nothing twice, nothing that never was.")
        return 0
    (folder / "evidence.txt").write_text("\n".join(evidence))
    say("\n".join(evidence[:200]))
    wrong = ", ".join(result.report.problems()) or "see TROUBLE"
    say(f"soak: NOT CLEAN ({wrong}); seed {options.seed}; history, logs and evidence.txt are in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
