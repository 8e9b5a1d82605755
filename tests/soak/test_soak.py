"""A slice of the soak on each broker, and the soak's own rules."""

import itertools
import os
import subprocess
import sys

import pytest

from tests.soak.crew import ROOT
from tests.soak.plan import BROKERS, DATABASES, KINDS, Options, faults, possible


@pytest.mark.timeout(400)
@pytest.mark.parametrize("broker", BROKERS)
def test_nothing_is_lost_and_nothing_runs_twice_under_random_faults(broker: str) -> None:
    command = [sys.executable, "-m", "tests.soak", "--slice", "--minutes", "0.3", "--jobs", "1000", "--broker", broker]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=380, check=False
    )
    # The seed is in what it printed.
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("database", DATABASES)
def test_the_seed_alone_decides_which_faults_strike(broker: str, database: str) -> None:
    first, again, other = (
        list(itertools.islice(faults(Options(seed=seed, broker=broker, database=database)), 60)) for seed in (3, 3, 4)
    )
    assert first == again != other


@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("database", DATABASES)
def test_every_kind_of_fault_comes_before_any_comes_twice(broker: str, database: str) -> None:
    options = Options(seed=5, broker=broker, database=database)
    kinds = {kind.name for kind in possible(options)}
    first = [fault.kind for fault in itertools.islice(faults(options), len(kinds))]
    assert set(first) == kinds


def test_every_kind_of_fault_has_a_verb_that_does_it() -> None:
    from tests.soak.breaking import Breaker

    verbs = {name for name, value in vars(Breaker).items() if callable(value) and not name.startswith("_")}
    assert verbs - {"strike"} == {kind.name.replace("-", "_") for kind in KINDS}
