"""Holding a rate, by a clock that stands still but while somebody waits or works."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from taskyard.operations.bulk.pacing import paced
from taskyard.operations.bulk.run import batch_size


class Clock:
    """Stands still but while somebody waits or works."""

    def __init__(self) -> None:
        self.now, self.waits = 100.0, list[float]()

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def paced(self, parts: Iterator[Sequence[int]], rate: float | None) -> Iterator[Sequence[int]]:
        return paced(parts, rate, monotonic=lambda: self.now, wait=self.wait)


def parts(count: int, rate: float) -> Iterator[Sequence[int]]:
    size = batch_size(rate)
    return (range(start, min(start + size, count)) for start in range(0, count, size))


@pytest.mark.parametrize("rate", [0.5, 7, 200, 2000])
def test_a_rate_is_held_over_the_whole_whatever_the_work_takes(rate: float) -> None:
    clock, seen, count = Clock(), 0, int(rate * 30)
    for part in clock.paced(parts(count, rate), rate):
        seen += len(part)
        clock.now += 0.7 * len(part) / rate
        # Never ahead by more than one part.
        assert seen <= rate * (clock.now - 100) + batch_size(rate)

    assert seen == count
    assert 30 * 0.99 < clock.now - 100 < 30 * 1.01


def test_what_was_held_up_is_not_made_up_for_in_one_go() -> None:
    clock, times = Clock(), list[float]()
    for number, part in enumerate(clock.paced(parts(1000, 100), 100)):
        times += [clock.now] * len(part)
        clock.now += 60 if number == 10 else 0
    # In the second after the stop at most that second's, one more second's, and a part.
    stop = next(at for at, after in pairwise(times) if after - at > 50)
    assert sum(1 for at in times if stop + 60 <= at <= stop + 61) <= 220


def test_whoever_waits_for_long_hears_four_times_a_second_and_reads_nothing_ahead_of_its_time() -> None:
    clock, read = Clock(), list[float]()

    def two() -> Iterator[Sequence[int]]:
        for number in range(2):
            read.append(clock.now)
            yield [number]

    heard = [len(part) for part in clock.paced(two(), 0.4)]
    assert (heard.count(0), heard.count(1), max(clock.waits)) == (20, 2, 0.25)
    assert read == [100.0, 102.5]


def test_without_a_rate_nobody_waits() -> None:
    clock = Clock()
    assert len(list(clock.paced(iter([[1], [2], [3]]), None))) == 3
    assert clock.now == 100.0


def test_parts_are_those_of_a_fifth_of_a_second() -> None:
    assert [batch_size(rate) for rate in (None, 0.5, 200, 10**6)] == [500, 1, 40, 500]
