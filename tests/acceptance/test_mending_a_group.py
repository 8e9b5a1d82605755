"""A group of failures is brought back by a real worker: at the rate that was asked for, until somebody cancels that."""

from collections import Counter

import pytest
from django.utils import timezone

from taskyard import enqueue_many
from taskyard.models import AuditEntry, Failure, FailureGroup, Job
from taskyard.operations import Actor, failures, jobs
from taskyard.operations.bulk.order import start
from tests.app import tasks
from tests.servers import wait_until
from tests.workers import Project, wait_for_state

RATE, BATCH = 200, 40
#: What is promised is promised of ten thousand, which take a minute.
SIZES = [10 * BATCH, pytest.param(10_000, marks=[pytest.mark.verify, pytest.mark.timeout(300)])]
ANN = Actor.system("ann")


def fail(size: int) -> FailureGroup:
    """A group in which so many jobs stand failed; nobody consumes their queue, so what is brought back stays there."""
    now = timezone.now()
    enqueue_many(tasks.nothing.using(queue_name="nobody"), ({"n": n} for n in range(size)))
    Job.objects.update(state="failed", finished_at=now, attempt=1)
    group = FailureGroup.objects.create(
        fingerprint="1-gone", task="app.nothing", error_type="ValueError", first_seen_at=now, seen_at=now
    )
    ids = Job.objects.failed().values_list("id", flat=True)
    Failure.objects.bulk_create([Failure(job_id=each, group=group, failed_at=now) for each in ids], batch_size=1_000)
    return group


def mend(group: FailureGroup) -> Job:
    return start(ANN, failures.mending(ANN, "retry", group.pk, rate=RATE, reason="the gateway is back"))


def brought_back() -> Counter[float]:
    """How many jobs, by the time of the batch in which they were."""
    times = Job.objects.filter(finished_at=None, queue="nobody").values_list("available_at", flat=True)
    return Counter(time.timestamp() for time in times)


@pytest.mark.parametrize("size", SIZES)
def test_a_group_comes_back_in_fifths_of_a_second_of_its_rate(project: Project, size: int) -> None:
    group = fail(size)
    project.start_worker("-c", "1")
    job = wait_for_state(mend(group).id, "succeeded", timeout=30 + 2 * size / RATE)

    batches = brought_back()
    assert set(batches.values()) == {BATCH}
    assert batches.total() == size
    assert not Failure.objects.exists()
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target, entry.count, entry.job) == ("retry", group.pk, size, job.id)
    assert (entry.after["ended"], entry.after["looked_at"]) == ("done", size)
    first, last = min(batches), max(batches)
    rate = (size - BATCH) / (last - first)
    tens = Counter(int((time - first) // 10) for time in batches.elements())
    print(f"{size} at {rate:.2f} a second; in each ten seconds {[tens[n] for n in sorted(tens)]}")
    if size == 10_000:
        # The last ten seconds are not whole: the first batch came at once.
        whole = [count for n, count in sorted(tens.items()) if first + 10 * (n + 1) <= last]
        assert all(0.95 * RATE <= each <= 1.05 * RATE for each in [rate, *(count / 10 for count in whole)])


@pytest.mark.parametrize("size", SIZES)
def test_who_cancels_that_stops_it_and_the_rest_stands_failed(project: Project, size: int) -> None:
    group = fail(size)
    project.start_worker("-c", "1")
    mending = mend(group)
    wait_until(lambda: AuditEntry.objects.get(verb="retry").count >= size // 2, 30 + size / RATE, "half of them")
    jobs.cancel(ANN, [mending.id])
    wait_for_state(mending.id, "cancelled")

    entry = AuditEntry.objects.get(verb="retry")
    assert entry.after["ended"] == "aborted"
    back = brought_back()
    assert size // 2 <= back.total() == entry.count == entry.after["looked_at"] < size
    assert Failure.objects.count() == Job.objects.failed().count() == size - entry.count
    asked_at = Job.objects.get(id=mending.id).cancel_requested_at
    assert asked_at is not None
    late = [time - asked_at.timestamp() for time in back.elements() if time > asked_at.timestamp()]
    print(f"{entry.count} of {size}; {len(late)} of them after the cancel, the last after {max(late, default=0):.2f} s")
