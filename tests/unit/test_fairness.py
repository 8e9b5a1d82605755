"""Fair share and limits as pure rules: who comes next, and how many may."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard.outbox.share.fairness import Shares
from taskyard.outbox.share.limits import Limit, Meter

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def jain(values: list[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


class Machine:
    """Runs what the shares choose, ``room`` jobs at a time, and tells them afterwards what the jobs cost."""

    def __init__(self, costs: Mapping[str, Callable[[int], float]], weights: Mapping[str, float] | None = None) -> None:
        self.shares, self.costs, self.weights = Shares(), costs, dict(weights or {})
        self.starts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)

    def turn(self, *waiting: str, room: int = 10, caps: Mapping[str, int] | None = None) -> list[str]:
        order = self.shares.order(
            room, {tenant: (caps or {}).get(tenant, room) for tenant in waiting}, weights=self.weights
        )
        self.shares.charge(Counter(order), self.weights)
        spent: dict[str, float] = defaultdict(float)
        for tenant in order:
            spent[tenant] += self.costs[tenant](self.starts[tenant])
            self.starts[tenant] += 1
        for tenant, jobs in Counter(order).items():
            weight = self.weights.get(tenant, 1.0)
            self.shares.correct(tenant, jobs, seconds=spent[tenant], weight=weight)
            self.seconds[tenant] += spent[tenant]
        return order


def same(seconds: float) -> Callable[[int], float]:
    return lambda number: seconds


def test_nine_equal_tenants_get_equal_shares() -> None:
    names = [f"t{number}" for number in range(9)]
    machine = Machine({name: same(0.02) for name in names})
    for _ in range(50):
        machine.turn(*names)
    assert jain(list(machine.seconds.values())) >= 0.999


def test_run_time_is_shared_and_not_the_number_of_jobs() -> None:
    names = [f"t{number}" for number in range(9)]
    machine = Machine({name: same(0.005 * (number + 1)) for number, name in enumerate(names)})
    for _ in range(400):
        machine.turn(*names)
    assert jain(list(machine.seconds.values())) >= 0.999
    assert machine.starts["t0"] == pytest.approx(9 * machine.starts["t8"], rel=0.05)


def test_weights_are_the_shares_of_run_time() -> None:
    costs = {"one": lambda n: 0.005 + n % 10 * 0.005, "three": same(0.02), "six": lambda n: 0.05 - n % 7 * 0.005}
    machine = Machine(costs, {"three": 3.0, "six": 6.0})
    for _ in range(500):
        machine.turn(*costs)
    whole = sum(machine.seconds.values())
    for tenant, share in (("one", 0.1), ("three", 0.3), ("six", 0.6)):
        assert machine.seconds[tenant] / whole == pytest.approx(share, rel=0.02)


def test_a_newcomer_comes_first_and_has_saved_nothing_up() -> None:
    machine = Machine({"flood": same(0.01), "new": same(0.01)})
    for _ in range(1000):
        machine.turn("flood")

    order = machine.turn("flood", "new")

    assert order.index("new") <= 1
    assert Counter(order) == {"flood": 5, "new": 5}
    for _ in range(100):
        machine.turn("flood")
    assert Counter(machine.turn("flood", "new")) == {"flood": 5, "new": 5}


def test_who_used_what_nobody_wanted_owes_nothing() -> None:
    machine = Machine({"day": same(0.01), "night": same(3600.0)})
    machine.turn("day", "night")
    for _ in range(10):
        machine.turn("night")
    machine.turn("day", room=1)
    counts = Counter(tenant for _ in range(20) for tenant in machine.turn("day", "night", room=1))
    assert counts["night"] >= 1


def test_an_idle_share_is_anyones() -> None:
    machine = Machine({"a": same(0.01), "b": same(0.01), "c": same(0.01)}, {"a": 100.0})
    assert Counter(machine.turn("b", "c")) == {"b": 5, "c": 5}
    assert Counter(machine.turn("b")) == {"b": 10}
    assert Counter(machine.turn("a", "b", caps={"a": 2})) == {"a": 2, "b": 8}


def test_a_long_job_counts_while_it_runs() -> None:
    shares = Shares()
    shares.charge(Counter(shares.order(2, {"long": 1, "short": 1}, weights={})), {})
    shares.correct("short", 1, seconds=0.01, weight=1.0)

    shares.run({"long": (1, 30.0)}, {})

    assert set(shares.order(100, {"long": 100, "short": 100}, weights={})) == {"short"}
    # It never ended in sight (given back, say): then it is no more than what was charged for it.
    shares.run({}, {})
    assert set(shares.order(100, {"long": 100, "short": 100}, weights={})) == {"long", "short"}


def test_those_who_were_not_seen_for_long_are_forgotten() -> None:
    machine = Machine(defaultdict(lambda: same(0.01)))
    for number in range(5000):
        machine.turn(f"t{number}", "always", room=2)
    assert len(machine.shares._shares) < 1100


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 0.1), st.sampled_from([0.5, 1.0, 2.0, 5.0])), min_size=2, max_size=6),
    st.lists(st.integers(1, 30), min_size=5, max_size=40),
)
def test_two_that_wait_all_the_time_differ_by_no_more_than_what_is_fed_at_once(
    tenants: list[tuple[float, float]], rooms: list[int]
) -> None:
    names = [f"t{number}" for number in range(len(tenants))]
    machine = Machine(
        {name: same(cost) for name, (cost, _) in zip(names, tenants, strict=True)},
        {name: weight for name, (_, weight) in zip(names, tenants, strict=True)},
    )
    # Until each one's cost is known, jobs count as equal.
    machine.turn(*names, room=30, caps=dict.fromkeys(names, 1))
    for _ in range(20):
        machine.turn(*names, room=len(names))
    machine.seconds.clear()
    for room in rooms:
        assert len(machine.turn(*names, room=room)) == room
    served = [machine.seconds[name] / weight for name, (_, weight) in zip(names, tenants, strict=True)]
    # Goyal, Vin, Cheng, theorem 1: the longest job of each, divided by its weight.
    assert max(served) - min(served) <= 2 * max(cost / weight for cost, weight in tenants) + 1e-9


# -- limits ------------------------------------------------------------------------------------------------------------


def test_who_has_no_limit_may_start_any_number_and_who_is_paused_none() -> None:
    meter = Meter()
    assert meter.room("a", Limit(weight=3.0), out=1000, now=NOW) is None
    assert meter.room("a", Limit(is_paused=True), out=0, now=NOW) == 0


def test_what_is_out_counts_against_the_maximum_and_a_lowered_maximum_takes_nothing_back() -> None:
    meter = Meter()
    assert [meter.room("a", Limit(max_running=5), out=out, now=NOW) for out in (0, 3, 5, 9)] == [5, 2, 0, 0]


@settings(deadline=None)
@given(rate=st.floats(0.5, 200), period=st.sampled_from([0.5, 1.0, 10.0, 60.0]), step=st.integers(5, 200))
def test_in_any_period_there_are_no_more_starts_than_the_rate_and_one_burst(
    rate: float, period: float, step: int
) -> None:
    meter, limit = Meter(), Limit(rate=rate, rate_seconds=period)
    starts: list[tuple[float, int]] = []
    for turn in range(min(400, int(3000 * period / step))):
        at = turn * step / 1000
        room = meter.room("a", limit, out=0, now=NOW + at * SECOND)
        assert room is not None
        meter.spend("a", limit, starts=room, now=NOW + at * SECOND)
        starts.append((at, room))
    for begin, _ in starts:
        within = sum(count for at, count in starts if begin <= at < begin + period)
        assert within <= rate + limit.burst + 0.001
    # And no fewer, as far as turns are frequent enough for it.
    if rate / period * step / 1000 <= limit.burst - 1:
        assert sum(count for _, count in starts) >= rate / period * starts[-1][0] - 1


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    meter, limit = Meter(), Limit(rate=10.0)
    assert meter.room("a", limit, out=0, now=NOW) == 3
    meter.spend("a", limit, starts=3, now=NOW)
    assert meter.room("a", limit, out=0, now=NOW - 100 * SECOND) == 0
    assert meter.room("a", limit, out=0, now=NOW - 99.9 * SECOND) == 1


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20), st.floats(0.001, 10)), min_size=1, max_size=20))
def test_however_late_it_is_known_in_the_end_a_tenant_was_charged_what_its_jobs_took(
    steps: list[tuple[int, int, float]],
) -> None:
    shares, out, took = Shares(), 0, 0.0
    for fed, ended, seconds in [*steps, (1, 1000, 1.0)]:
        shares.charge({"a": fed}, {})
        ended = min(ended, out + fed)
        shares.correct("a", ended, seconds=ended * seconds, weight=1.0)
        out, took = out + fed - ended, took + ended * seconds
    assert out == 0
    assert shares._shares["a"].tag == pytest.approx(took)
