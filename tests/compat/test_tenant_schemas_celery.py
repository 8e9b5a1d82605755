"""The suite that tenant-schemas-celery ships in its wheel, run against what we offer in its place.

Nothing of that package runs: a package of its name is laid out in a temporary folder, with our modules and its tests,
taken from where it is installed.
"""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.processes import project, worker
from tests.sources import verdicts

OURS = "taskyard.compat.tenant_schemas_celery"

MODULES = ("app", "cache", "compat", "db_scheduler", "registry", "scheduler", "task")
#: Of their files: what the tests import, and the tests.
SUPPORT = ("conftest", "test_app", "test_tasks", "test_utils")
TESTS = (
    "app_test", "cache_test", "db_scheduler_test", "integration_test", "registry_test", "task_test", "test_scheduler",
)  # fmt: skip

#: Tests of theirs that must fail here, and the safer behaviour that is the reason.
DEVIATIONS: dict[str, str] = {}


def lay_out(folder: Path) -> None:
    """A package with their name: our modules, their tests."""
    package = folder / "tenant_schemas_celery"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in MODULES:
        text = f"import importlib, sys\n\nsys.modules[__name__] = importlib.import_module({f'{OURS}.{name}'!r})\n"
        (package / f"{name}.py").write_text(text)
    files = importlib.metadata.files("tenant-schemas-celery") or []
    theirs = {Path(file).stem: file.locate() for file in files if file.suffix == ".py"}
    assert {name for name in theirs if name.endswith("_test") or name.startswith("test_")} == {
        *TESTS, "test_app", "test_tasks", "test_utils",
    }  # fmt: skip
    for name in (*SUPPORT, *TESTS):
        (package / f"{name}.py").write_bytes(Path(str(theirs[name])).read_bytes())
    (package / "ours_test.py").write_bytes(Path(__file__).with_name("schedulers_ours.py").read_bytes())
    (folder / "pytest.ini").write_text(
        "[pytest]\npython_files = *_test.py test_scheduler.py\nDJANGO_SETTINGS_MODULE = test_app.settings\n"
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_their_suite_passes_but_for_what_is_safer_here(
    tmp_path: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path)
    report = tmp_path / "report.xml"
    with (
        project(tmp_path, COMPAT_BEAT="1") as environment,
        worker(tmp_path, environment, "tenant_schemas_celery.test_app:app") as theirs,
    ):
        suite = subprocess.run(
            [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-p", "no:randomly", "--reuse-db", "--timeout=30",
             "--import-mode=prepend", f"--junitxml={report}", "--tb=short", "tenant_schemas_celery"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = f"{suite.stdout}{suite.stderr}\n---- worker\n{theirs.output()}"
    assert report.exists(), said
    ends = verdicts(report)
    counts = {end: list(ends.values()).count(end) for end in ("passed", "failed", "skipped")}
    with capsys.disabled():
        print(f"\n  tenant-schemas-celery {importlib.metadata.version('tenant-schemas-celery')}: {counts}", end="")
    record_property("tenant-schemas-celery", counts)
    assert {name for name, end in ends.items() if end == "failed"} == set(DEVIATIONS), said
    assert counts["passed"] >= 46, said
