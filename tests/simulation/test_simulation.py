"""Thousands of worlds in which everything goes wrong, and proof that they would show a core that is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.findings import FOUND

ROOT = Path(__file__).parents[2]
#: Seeds of one slice, and where slices begin. `make simulate` goes on from there.
SLICE = 500
SLICES = range(0, 1000, SLICE)
#: Within so many seeds each planted fault is found.
ENOUGH = 400


def simulate(*arguments: object) -> tuple[int, str]:
    """Exit code and output of the command; its Django is another one than this process's."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", SLICES)
def test_every_promise_holds_in_every_seed(first: int) -> None:
    code, said = simulate("--first", first, "--seeds", SLICE, "--processes", 2)
    assert code == 0, said[-20_000:]


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """What was found of each planted fault."""
    _, said = simulate("--planted", "--seeds", ENOUGH)
    return dict(line.split(": ", 1) for line in said.splitlines())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", sorted(FOUND))
def test_a_planted_fault_is_found(variant: str, verdicts: dict[str, str]) -> None:
    """It breaks the promise it is about, which in the same seeds holds without it (the slices above)."""
    assert re.fullmatch(rf"seed \d+: .*{FOUND[variant]}.*", verdicts[variant]), verdicts[variant]


def test_every_planted_fault_is_expected_to_be_found(verdicts: dict[str, str]) -> None:
    assert verdicts.keys() == FOUND.keys()


def test_a_seed_replays_exactly_alone_and_after_others() -> None:
    _, together = simulate("--first", 3, "--seeds", 5, "--digests")
    _, alone = simulate("--seed", 7)
    (digest,) = re.findall(r"^seed 7: history (\w+)", together, re.MULTILINE)
    assert f"history {digest}" in alone.splitlines()
    assert alone.endswith("seed 7: every promise held\n")


def test_what_a_seed_reports_can_be_replayed_from_its_number() -> None:
    _, said = simulate("--variant", "claim-without-state", "--seeds", ENOUGH)
    *_, verdict, replay = said.splitlines()
    seed = re.fullmatch(r"replay: --variant claim-without-state --seed (\d+)", replay)
    assert seed is not None
    code, again = simulate("--variant", "claim-without-state", "--seed", seed[1])
    assert code == 1
    assert again.splitlines()[-1] == verdict
