"""What holds the repository together: the import contract, the migrations, the metadata."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def run(*command: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TASKYARD_TEST_DB": "sqlite", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def lint_imports(cwd: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).parent / "lint-imports"
    if not command.exists():
        pytest.skip("import-linter is not installed in this environment")
    source = [str(cwd / "src")] if (cwd / "src").is_dir() else []
    return run(str(command), "--no-cache", cwd=cwd, PYTHONPATH=os.pathsep.join([*source, str(cwd)]))


def test_the_import_contract_holds() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def copied_contract(tmp_path: Path) -> Path:
    """A package of a few rooms under our own contract, to plant violations in."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for room in ("jobs", "outbox", "execution", "operations", "celery", "entrypoint", "management", "admin", "api"):
        folder = tmp_path / "src" / "taskyard" / room
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    for writer in ("batches/cancelling.py", "failures/groups.py"):
        file = tmp_path / "src" / "taskyard" / writer
        file.parent.mkdir()
        file.with_name("__init__.py").touch()
        file.touch()
    (tmp_path / "src" / "taskyard" / "__init__.py").touch()
    return tmp_path


def test_the_contract_accepts_imports_that_point_down(copied_contract: Path) -> None:
    plant(copied_contract, "outbox", "import taskyard.jobs")
    plant(copied_contract, "celery", "import celery, kombu")
    # Through operations, which may write, a page reaches what it may not import itself.
    plant(copied_contract, "operations", "import taskyard.batches.cancelling, taskyard.failures.groups")
    plant(copied_contract, "admin", "import taskyard.operations")
    done = lint_imports(copied_contract)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("room", "text", "says"),
    [
        ("jobs", "import taskyard.outbox", "taskyard.jobs is not allowed to import taskyard.outbox"),
        ("jobs", "import kombu", "taskyard is not allowed to import kombu"),
        ("jobs", "def f():\n    from celery import Celery", "taskyard is not allowed to import celery"),
        ("pantry", "", "pantry"),
        ("operations", "import celery", "taskyard is not allowed to import celery"),
        ("operations", "import taskyard.celery", "taskyard.operations is not allowed to import taskyard.celery"),
        ("admin", "import taskyard.execution", "taskyard.admin is not allowed to import taskyard.execution"),
        ("api", "import taskyard.execution", "taskyard.api is not allowed to import taskyard.execution"),
        ("entrypoint", "import taskyard.execution", "taskyard.entrypoint is not allowed to import taskyard.execution"),
        *[
            (room, f"import {writer}", f"taskyard.{room} is not allowed to import {writer}")
            for room in ("admin", "api", "entrypoint", "management")
            for writer in ("taskyard.batches.cancelling", "taskyard.failures.groups")
        ],
    ],
)
def test_the_contract_refuses(room: str, text: str, says: str, copied_contract: Path) -> None:
    plant(copied_contract, room, text)
    done = lint_imports(copied_contract)
    assert done.returncode == 1
    assert says in " ".join(done.stdout.split())


def plant(root: Path, room: str, text: str) -> None:
    folder = root / "src" / "taskyard" / room
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text(text + "\n")


@pytest.mark.parametrize("engine", ["sqlite"])
def test_no_migration_is_missing(engine: str) -> None:
    command = ("-m", "django", "makemigrations", "--check", "--dry-run", "--settings", "tests.settings")
    done = run(sys.executable, *command, TASKYARD_TEST_DB=engine)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed_and_says_its_version() -> None:
    import taskyard

    assert (Path(taskyard.__file__).parent / "py.typed").exists()
    assert metadata.version("taskyard") == PROJECT["project"]["version"]
    if hasattr(taskyard, "__version__"):
        assert taskyard.__version__ == PROJECT["project"]["version"]


def test_there_are_three_hard_dependencies_and_none_caps_django() -> None:
    names = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in PROJECT["project"]["dependencies"]}
    assert names == {"django", "celery", "cronsim"}
    assert "Django>=5.2" in PROJECT["project"]["dependencies"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_no_extra_names_a_package_that_holds_django_back(extra: str) -> None:
    # Both cap Django below 6.1, and a resolver obeys by moving Django down. `make verify` asks the resolver itself.
    named = " ".join(EXTRAS[extra]).lower()
    assert "django-celery-beat" not in named
    assert "django-prometheus" not in named
    assert not re.search(r"\bdjango *[=<~]", named)


WITHOUT_ADMIN = """
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "taskyard"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
import taskyard.schedules
taskyard.schedules.Schedule
print([name for name in sys.modules if name.startswith(("taskyard.admin", "django.contrib.admin"))])
"""


def test_a_project_without_the_admin_loads_nothing_of_it() -> None:
    done = run(sys.executable, "-c", WITHOUT_ADMIN)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
