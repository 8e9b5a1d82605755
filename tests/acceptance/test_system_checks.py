"""A project that does everything wrong is told of each thing at its line; one that does nothing wrong hears nothing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import nursery

ROOT = Path(__file__).resolve().parents[2]
BAD = ROOT / "tests" / "bad_project"
#: What its settings are told.
OF_SETTINGS = {"E002", "W001", "W002", "W003", "W004", "W008", "W009", "W015", "W016", "W017", "W019", "W020"}
#: What other tests show: it takes tenants, workers, or settings with which there is nothing to check.
ELSEWHERE = {"E001", "E003", "E004", "W018", "W021"}
#: Work is lost, never runs, or runs where it must not. W018 is among them, too.
FATAL = {"W003", "W006", "W016", "W019", "W020"}


def check(project: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    foreign = ("DJANGO_", "CELERY_", "TASKYARD", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    command = ["manage.py", "check", "--tag", "taskyard", *words]
    return nursery.run(command, cwd=project, env={**kept, **environment}, timeout=60)


def copied(folder: Path) -> Path:
    """The bad project, with files that nobody can read: those are somebody else's matter."""
    project = Path(shutil.copytree(BAD, folder / "bad_project"))
    (project / "apps" / "shop" / "unfinished.py").write_text("from .tasks import notify\ndef half(:\n")
    (project / "apps" / "shop" / "binary.py").write_bytes(b"task \x00\xff")
    (project / "apps" / "shop" / "nested.py").write_text(f"tasks = {'(' * 1000}{')' * 1000}\n")
    (project / "apps" / "shop" / "deep.py").write_text(f"from .tasks import *\nship.delay({' + '.join('n' * 5000)})\n")
    return project


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What the bad project is told."""
    return check(copied(tmp_path_factory.mktemp("told")))


def marked() -> set[tuple[str, ...]]:
    return {
        (file.relative_to(BAD).as_posix(), str(number), each)
        for file in BAD.rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), 1)
        for each in re.findall(r"# bad: (\w+)", line)
    }


def test_each_mistake_of_a_bad_project_is_named_at_its_line_and_nothing_else_is(
    told: subprocess.CompletedProcess[str],
) -> None:
    said = re.findall(r"^(\S+): \(taskyard\.(\w+)\)", told.stderr, re.MULTILINE)
    at_lines = {(*place.split(":"), number) for place, number in said if re.search(r":\d+$", place)}
    assert at_lines == marked(), told.stderr
    assert {number for place, number in said if not re.search(r":\d+$", place)} == OF_SETTINGS
    # Both orders that are wrong.
    assert "asked for Celery's current app" in told.stderr
    assert "The command 'sync_schedules' of early hides" in told.stderr


def test_every_message_has_a_hint_and_the_section_of_the_page_about_it(told: subprocess.CompletedProcess[str]) -> None:
    messages = re.findall(r"\(taskyard\.(\w+)\).*\n\tHINT: (.*)", told.stderr)
    assert len(messages) == told.stderr.count("(taskyard.") > 30
    for number, hint in messages:
        assert re.fullmatch(rf".+ \(docs/checks\.md#{number.lower()}\)", hint), hint


def test_what_is_fatal_is_an_error_when_deploying_and_a_warning_before(
    told: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    errors, _, warnings = told.stderr.partition("WARNINGS:")
    assert set(re.findall(r"taskyard\.(\w+)", errors)) == {"E002"}
    assert set(re.findall(r"taskyard\.(\w+)", warnings)) >= FATAL
    # One entry silences it in both.
    project = copied(tmp_path)
    with (project / "bad" / "settings.py").open("a") as settings:
        settings.write("SILENCED_SYSTEM_CHECKS = ['taskyard.E002', 'taskyard.W006']\n")
    deploying = check(project, "--deploy")
    errors, _, warnings = deploying.stderr.partition("WARNINGS:")
    assert deploying.returncode == 1
    assert set(re.findall(r"taskyard\.(\w+)", errors)) == FATAL - {"W006"}
    assert not FATAL & set(re.findall(r"taskyard\.(\w+)", warnings))


def projects() -> list[Path]:
    return sorted(file.parent for file in (ROOT / "examples").glob("*/manage.py"))


@pytest.mark.parametrize("project", projects(), ids=lambda project: project.name)
def test_the_examples_hear_nothing(project: Path, tmp_path: Path) -> None:
    done = check(project, "--deploy", VAULT_DATA=str(tmp_path), VALIDATIONS_DATA=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_demo_hears_nothing_until_it_does_something_wrong(tmp_path: Path) -> None:
    source = ROOT / "src" / "taskyard" / "entrypoint" / "demo_project"
    project = Path(shutil.copytree(source, tmp_path / "demo"))
    (project / "__init__.py").unlink()
    done = check(project, "--deploy")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    with (project / "index" / "tasks.py").open("a") as tasks:
        tasks.write("\n\n@task\ndef hang(file: File) -> None: ...\n")
    assert re.findall(r"taskyard\.(W\d+)", check(project).stderr) == ["W004", "W010"]


def test_each_check_of_the_page_is_shown_by_a_mistake() -> None:
    page = (ROOT / "docs" / "checks.md").read_text()
    sections = set(re.findall(r"^## ([EW]\d{3})$", page, re.MULTILINE))
    assert sections == {number for *_, number in marked()} | OF_SETTINGS | ELSEWHERE
