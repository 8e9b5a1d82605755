"""What projects do, one small piece each: enqueue, fan out, retry, cancel, roll back. All of it goes into the history.

Only tests of the soak's own kind of process import this: it needs a Django that is set up.
"""

import datetime as dt
import time
import uuid
from collections.abc import Callable
from typing import Any

from celery import chain, chord, group
from django.utils import timezone

from taskyard.execution import steering
from taskyard.jobs.ids import new_id
from taskyard.models import Job
from tests.soak import release, tasks
from tests.soak.producer import Producer, Undone

Scenario = Callable[[Producer], None]


def known() -> list[tuple[Scenario, int]]:
    """Every scenario and how often it comes, relative to the others."""
    return KNOWN


def _ids(jobs: list[Any]) -> list[Any]:
    return [job.id for job in jobs if getattr(job, "created", True)]


def _write(producer: Producer, jobs: Callable[[], list[Any]], *states: str) -> list[Any]:
    """Write in one transaction; the ids."""
    with producer.history.transaction() as ids:
        ids += _ids(jobs())
        for job_id in ids if states else ():
            producer.history.may_end(job_id, *states)
    producer.count(ids)
    return list(ids)


# -- plain jobs


def one(producer: Producer) -> None:
    priority = producer.chance.randrange(-100, 101)
    _write(producer, lambda: [tasks.tiny.using(priority=priority).enqueue(n=producer.n)], "succeeded")


def without_a_transaction(producer: Producer) -> None:
    """Autocommit: where it fails nobody knows the id, nor whether it was written."""
    before = new_id()
    n, found = producer.n, []
    try:
        found = [tasks.tiny.enqueue(n=n).id]
        producer.history.write("committed", jobs=found)
    finally:
        if not found:
            producer.history.uncertain(before, new_id())
    producer.count(found)


def several(producer: Producer) -> None:
    _write(producer, lambda: [tasks.tiny.enqueue(n=producer.n) for _ in range(producer.chance.randint(2, 8))])


def rolled_back(producer: Producer) -> None:
    try:
        with producer.history.transaction() as ids:
            ids += _ids([tasks.tiny.enqueue(n=producer.n), tasks.once.enqueue(key=f"gone {producer.n}", seconds=0)])
            results = chain(tasks.adds.s(1, 2), tasks.adds.s(3)).apply_async()
            ids += [results.id, results.parent.id]
            raise Undone
    except Undone:
        return


def delayed_call(producer: Producer) -> None:
    _write(producer, lambda: [tasks.adds.delay(1, producer.n)], "succeeded")


def many(producer: Producer) -> None:
    """One INSERT for hundreds; the ids are those that this process made meanwhile."""
    count = producer.chance.randint(150, 450)
    spread = dt.timedelta(seconds=producer.chance.choice([0, 0, 3]))
    with producer.history.transaction() as ids:
        first = new_id()
        report = tasks.tiny.enqueue_many(({"n": producer.n} for _ in range(count)), spread=spread or None)
        last = new_id()
        between = Job.objects.filter(id__gt=first, id__lt=last, task="soak.tiny").values_list("id", "kwargs")
        ids += [job_id for job_id, kwargs in between if kwargs == {"n": producer.n}]
        assert len(ids) == report.created == count, f"{len(ids)} of {count} are in the table"
    producer.count(ids)


def later(producer: Producer) -> None:
    wait = dt.timedelta(seconds=producer.chance.uniform(0.2, 8))
    _write(producer, lambda: [tasks.tiny.using(run_after=wait).enqueue(n=producer.n)], "succeeded")


def with_countdown(producer: Producer) -> None:
    wait = producer.chance.uniform(0.2, 5)
    _write(producer, lambda: [tasks.adds.apply_async((1, 2), countdown=wait)], "succeeded")


def expiring(producer: Producer) -> None:
    _write(producer, lambda: [tasks.adds.apply_async((1, 2), expires=1)], "succeeded", "cancelled")


# -- jobs that take their time, fail or report


def lasting(producer: Producer) -> None:
    seconds = round(producer.chance.choice([0.1, 0.3, 1.0, 3.0]), 1)
    _write(producer, lambda: [tasks.lasts.enqueue(n=producer.n, seconds=seconds)], "succeeded")


def retried(producer: Producer) -> None:
    succeed_at = producer.chance.randint(2, 4)
    _write(producer, lambda: [tasks.flaky.enqueue(n=producer.n, succeed_at=succeed_at)], "succeeded")


def retried_by_celery(producer: Producer) -> None:
    _write(producer, lambda: [tasks.retries.delay(producer.n, producer.chance.randint(1, 2))], "succeeded")


def failing(producer: Producer) -> None:
    _write(producer, lambda: [tasks.hopeless.enqueue(n=producer.n)], "failed")


def mended(producer: Producer) -> None:
    ids = _write(producer, lambda: [tasks.mended.enqueue(n=producer.n)], "succeeded", "failed")
    _to_mend(producer, ids)


def _to_mend(producer: Producer, ids: list[uuid.UUID]) -> None:
    producer.to_mend += [(time.monotonic() + producer.chance.uniform(2, 6), job_id) for job_id in ids]


def reporting(producer: Producer) -> None:
    _write(producer, lambda: [tasks.tracks.enqueue(items=producer.chance.randint(3, 30))], "succeeded")


def checkpointing(producer: Producer) -> None:
    _write(producer, lambda: [tasks.turns_pages.enqueue(pages=producer.chance.randint(2, 20))], "succeeded")


def snoozing(producer: Producer) -> None:
    _write(producer, lambda: [tasks.snoozes.enqueue(n=producer.n)], "succeeded")


def crashing(producer: Producer) -> None:
    _write(producer, lambda: [tasks.crashes.enqueue(n=producer.n, times=1)], "succeeded")


def poisonous(producer: Producer) -> None:
    _write(producer, lambda: [tasks.crashes.enqueue(n=producer.n, times=99)], "failed")


def over_time(producer: Producer) -> None:
    _write(producer, lambda: [tasks.over_time.enqueue(n=producer.n)], "failed")


# -- unique keys


def unique(producer: Producer) -> None:
    key = f"k{producer.chance.randrange(12)}"
    _write(producer, lambda: [tasks.once.enqueue(key=key, seconds=producer.chance.choice([0, 0.02, 0.1]))], "succeeded")


def unique_and_retried(producer: Producer) -> None:
    key = f"k{producer.chance.randrange(12)}"
    _write(producer, lambda: [tasks.once_flaky.enqueue(key=key) for _ in range(2)], "succeeded")


def unique_until_start(producer: Producer) -> None:
    key = f"k{producer.chance.randrange(6)}"
    _write(producer, lambda: [tasks.once_until_start.enqueue(key=key)], "succeeded")


# -- cancels


def cancelled_early(producer: Producer) -> None:
    wait = dt.timedelta(seconds=producer.chance.choice([0, 2, 6]))
    ids = _write(producer, lambda: [tasks.tiny.using(run_after=wait).enqueue(n=producer.n)])
    _cancel(producer, ids)
    if producer.chance.random() < 0.3:
        _to_mend(producer, ids)


def cancelled_while_it_runs(producer: Producer) -> None:
    ids = _write(producer, lambda: [tasks.patient.enqueue(seconds=1.0)])
    time_to_start = producer.chance.choice([0, 0.1, 0.5])
    time.sleep(time_to_start)
    _cancel(producer, ids)


def _cancel(producer: Producer, ids: list[uuid.UUID]) -> None:
    steering.cancel(ids, timezone.now())
    for job_id, state in Job.objects.filter(id__in=ids).values_list("id", "state"):
        if state == "cancelled":
            producer.history.cancelled(job_id)


def bring_back(producer: Producer, job_id: uuid.UUID) -> None:
    """An operator's retry, if the job has ended badly meanwhile."""
    if Job.objects.filter(id=job_id, state__in=("failed", "cancelled")).exists():
        producer.history.brought_back(job_id)
        steering.retry([job_id], timezone.now())


# -- canvas


def _key(producer: Producer, what: str) -> str:
    return f"{what} {producer.name} {producer.n}"


def _canvas(producer: Producer, write: Callable[[], tuple[list[str], Callable[[], None]]]) -> None:
    with producer.history.transaction() as ids:
        written, expect = write()
        ids += written
        expect()
    producer.count(written)


def chained(producer: Producer) -> None:
    keys = [_key(producer, f"step{number}") for number in (2, 3)]
    steps = [tasks.adds.s(1, 2), tasks.adds.s(3, key=keys[0]), tasks.adds.s(4, key=keys[1])]

    def write() -> tuple[list[str], Callable[[], None]]:
        last = chain(*steps).apply_async()
        first, second = last.parent.parent.id, last.parent.id

        def expect() -> None:
            producer.history.expects(keys[0], after=[first], value=6)
            producer.history.expects(keys[1], after=[first, second], value=10)
            for job_id in (first, second, last.id):
                producer.history.may_end(job_id, "succeeded")

        return [first], expect

    _canvas(producer, write)


def chained_and_broken(producer: Producer) -> None:
    never, error = _key(producer, "never"), _key(producer, "chain-error")

    def write() -> tuple[list[str], Callable[[], None]]:
        broken = tasks.breaks.s().on_error(tasks.on_error.s(key=error))
        last = chain(tasks.adds.s(1, 2), broken, tasks.adds.s(4, key=never)).apply_async()
        first, second = last.parent.parent.id, last.parent.id

        def expect() -> None:
            producer.history.expects(never, after=[first, second, last.id], state="succeeded")
            producer.history.expects(error, after=[second], state="failed", value=second)
            producer.history.may_end(second, "failed")

        return [first], expect

    _canvas(producer, write)


def grouped(producer: Producer) -> None:
    def write() -> tuple[list[str], Callable[[], None]]:
        found = group(tasks.adds.s(number, 1) for number in range(5)).apply_async()
        return [result.id for result in found.results], lambda: None

    _canvas(producer, write)


def chorded(producer: Producer) -> None:
    key = _key(producer, "chord")
    has_retries = producer.chance.random() < 0.3

    def write() -> tuple[list[str], Callable[[], None]]:
        members = [tasks.adds.s(number, 1) for number in range(4)]
        if has_retries:
            members[2] = tasks.retries.s(3, 1)
        body = chord(members, tasks.gathers.s(key=key)).apply_async()
        ids = [result.id for result in body.parent.results]
        return ids, lambda: producer.history.expects(key, after=ids, value=[1, 2, 3, 4])

    _canvas(producer, write)


def chorded_and_broken(producer: Producer) -> None:
    key = _key(producer, "chord-never")

    def write() -> tuple[list[str], Callable[[], None]]:
        members = [tasks.adds.s(1, 1), tasks.breaks.s(), tasks.adds.s(2, 1)]
        body = chord(members, tasks.gathers.s(key=key)).apply_async()
        ids = [result.id for result in body.parent.results]
        return ids, lambda: producer.history.expects(key, after=ids)

    _canvas(producer, write)


def linked(producer: Producer) -> None:
    key = _key(producer, "link")

    def write() -> tuple[list[str], Callable[[], None]]:
        found = tasks.retries.apply_async((producer.n, 1), link=tasks.adds.s(1, key=key))
        return [found.id], lambda: producer.history.expects(key, after=[found.id], value=producer.n + 1)

    _canvas(producer, write)


def linked_for_errors(producer: Producer) -> None:
    key = _key(producer, "errback")

    def write() -> tuple[list[str], Callable[[], None]]:
        found = tasks.breaks.apply_async((producer.n,), link_error=tasks.on_error.s(key=key))
        return [found.id], lambda: producer.history.expects(key, after=[found.id], state="failed", value=found.id)

    _canvas(producer, write)


def replaced(producer: Producer) -> None:
    _write(producer, lambda: [tasks.hands_over.delay(producer.n)], "succeeded")


# -- releases


def of_both_releases(producer: Producer) -> None:
    """The new parameter is used when no old worker is left; the new task at once."""
    is_rolled_out = release.is_new() and (producer.folder / "deployed").exists()
    more = {"tone": "loud"} if is_rolled_out else {}
    _write(producer, lambda: [tasks.greets.enqueue(n=producer.n, **more)], "succeeded")
    if release.is_new():
        _write(producer, lambda: [tasks.brand_new.enqueue(n=producer.n)], "succeeded")


KNOWN: list[tuple[Scenario, int]] = [
    (one, 12), (without_a_transaction, 6), (several, 10), (rolled_back, 6), (delayed_call, 10), (later, 5),
    (with_countdown, 3), (expiring, 1), (lasting, 10), (retried, 4), (retried_by_celery, 3), (failing, 2), (mended, 2),
    (reporting, 2), (checkpointing, 2), (snoozing, 2), (crashing, 0.1), (poisonous, 0.02), (over_time, 0.05),
    (unique, 6), (unique_and_retried, 3), (unique_until_start, 3), (cancelled_early, 4), (cancelled_while_it_runs, 0.5),
    (chained, 4), (chained_and_broken, 2), (grouped, 4), (chorded, 4), (chorded_and_broken, 2), (linked, 4),
    (linked_for_errors, 2), (replaced, 1), (of_both_releases, 4),
]  # fmt: skip
