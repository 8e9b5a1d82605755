"""The benchmarks, in their smallest slice: that they run, and what they write."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests import servers

ROOT = Path(__file__).parent.parent.parent
SLICE = ("drain", "--quick", "--jobs", "60", "--only", "taskyard-redis,celery-redis")


@pytest.mark.slow
def test_a_round_of_the_benchmark_is_measured_written_and_drawn(tmp_path: Path) -> None:
    servers.require("postgres")
    servers.private_redis()  # only looks for the binary, and skips without

    done = subprocess.run(
        [sys.executable, "-m", "bench", *SLICE, "--save", str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())["drain"]
    [taken] = found["rounds"]
    assert set(taken) == {"taskyard-redis", "celery-redis"}
    assert all(one["rate"] > 0 and 0 < one["jobs"] < 60 and one["surplus"] == 0 for one in taken.values())
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    [ratio] = [line for line in lines if line.startswith("| drain, Redis, against Celery |")]
    assert "not measured" not in ratio
    assert ET.parse(tmp_path / "charts" / "drain.svg").getroot().tag.endswith("svg")
