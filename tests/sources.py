"""Source distributions of packages whose own tests are run against ours, and what became of each test."""

import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import servers


def fetched(wanted: str, config: pytest.Config) -> Path:
    """The source distribution of ``name==version``, fetched once for each version."""
    cache = config.cache
    assert cache is not None
    folder = cache.mkdir("sources") / wanted
    if not list(folder.glob("*.tar.gz")):
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--no-binary", ":all:", "--ignore-requires-python", "--dest", str(folder), wanted],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            (pytest.fail if servers.required() else pytest.skip)(f"{wanted} could not be fetched: {done.stderr}")
    return next(folder.glob("*.tar.gz"))


def extract(archive: Path, within: str, folder: Path) -> None:
    """Lay out what stands in one folder of a source distribution."""
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            member.name = member.name.partition("/")[2]
            if member.name.startswith(within):
                tar.extract(member, folder, filter="data")


def verdicts(report: Path) -> dict[str, str]:
    """What became of each test, by its name; one that they expect to fail has failed if it does."""
    ends = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag: child.get("type") for child in case}
        end = "failed" if {"failure", "error", "skipped"} & set(kinds) else "passed"
        if kinds.get("skipped") == "pytest.skip":
            end = "skipped"
        ends[f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"] = end
    return ends
