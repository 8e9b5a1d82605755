"""The process in which a contestant's own code sends jobs; it obeys one JSON line after another.

It is asked by :mod:`bench.stage`. What is measured here is the calls alone: imports, Django and the first connection
are done with before the clock starts.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

#: Calls before the clock starts, so that connections are open and caches warm.
WARM_UP = 200


def load() -> Any:
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django

        django.setup()
    return import_module(os.environ["BENCH_MODULE"])


def missing(module: Any) -> str:
    """Why this contestant cannot run here, or nothing."""
    if isinstance(module, ImportError):
        return str(module)
    return module.missing() if hasattr(module, "missing") else ""


def set_up(module: Any) -> None:
    module.set_up()


def fill(module: Any, task: str, count: int) -> dict[str, float]:
    started = time.monotonic()
    module.fill(task, count)
    return {"seconds": time.monotonic() - started, "peak_kb": peak_kb()}


def fan_out(module: Any, task: str, count: int, minutes: float) -> dict[str, float]:
    started = time.monotonic()
    module.fan_out(task, count, minutes)
    return {"seconds": time.monotonic() - started, "peak_kb": peak_kb()}


def flood(module: Any, **values: Any) -> int:
    return int(module.flood(**values))


def limit(module: Any, **values: Any) -> None:
    module.limit(**values)


def schedule(module: Any, **values: Any) -> None:
    module.schedule(**values)


def start_sagas(module: Any, fails: list[int]) -> None:
    module.start_sagas(fails)


def time_sagas(module: Any, count: int) -> list[float]:
    """Milliseconds that a step in place adds to its function, and what a saga of five takes beside: medians."""
    step, own = [], []
    for _ in range(count):
        direct, short, long = module.time_saga()
        step.append((long - short - direct) / module.STEPS * 1000)
        own.append((short * 2 - long) * 1000)
    return [median(step), median(own)]


def warm_up(module: Any, task: str) -> None:
    for number in range(WARM_UP):
        module.enqueue(task, number)


def send(module: Any, task: str, value: int) -> None:
    module.enqueue(task, value)


def enqueue(module: Any, task: str, count: int, budget: float = 3600.0) -> dict[str, Any]:
    """Send jobs one by one, as fast as it goes, until they are sent or the budget of seconds is spent."""
    took: list[int] = []
    errors = 0
    cpu = time.process_time()
    started = before = time.monotonic_ns()
    while len(took) < count and before - started < budget * 1e9:
        try:
            module.enqueue(task, len(took))
        except Exception as error:
            errors += 1
            print(f"call {len(took)}: {error!r}", file=sys.stderr)
        now = time.monotonic_ns()
        took.append(now - before)
        before = now
    ordered = sorted(took)
    return {
        "started_ns": started,
        "seconds": (before - started) / 1e9,
        "count": len(took),
        "errors": errors,
        "cpu": time.process_time() - cpu,
        "p50_us": ordered[len(ordered) // 2] / 1e3,
        "p99_us": ordered[int(0.99 * (len(ordered) - 1))] / 1e3,
    }


def pace(module: Any, rate: float, seconds: float) -> dict[str, Any]:
    """Send stamps at a steady rate; each carries the moment just before its own call."""
    started = time.monotonic_ns()
    count = max(1, int(rate * seconds))
    for number in range(count):
        ahead = started + number * 1e9 / rate - time.monotonic_ns()
        if ahead > 0:
            time.sleep(ahead / 1e9)
        module.enqueue("stamp", time.monotonic_ns())
    return {"count": count, "seconds": (time.monotonic_ns() - started) / 1e9}


def peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        missing,
        set_up,
        fill,
        fan_out,
        flood,
        limit,
        schedule,
        start_sagas,
        time_sagas,
        warm_up,
        send,
        enqueue,
        pace,
    )
}


def main() -> None:
    # What libraries print must not look like an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module: Any
    try:
        module = load()
    except ImportError as error:
        module = error
    for line in sys.stdin:
        request = json.loads(line)
        answer = VERBS[request.pop("do")](module, **request)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    # Run by path's folder or by -m alike: the repository's root is where `bench` and `tests` are found.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
