"""Finding the project's settings without running its manage.py."""

from pathlib import Path

import pytest

from taskyard.entrypoint import project
from taskyard.entrypoint.failures import UsageError


def test_the_settings_are_read_from_manage_py_and_its_code_is_not_run(tmp_path: Path) -> None:
    manage = tmp_path / "manage.py"
    manage.write_text(
        "import os\n"
        "raise SystemExit('must not run')\n"
        "def main():\n"
        "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
    )
    assert project.settings_named_by(manage) == "shop.settings"


def test_a_manage_py_that_names_none_or_is_missing_gives_none(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text("print('hello')\n")
    assert project.settings_named_by(tmp_path / "manage.py") is None
    assert project.settings_named_by(tmp_path / "other.py") is None


def test_without_a_project_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(UsageError, match=r"DJANGO_SETTINGS_MODULE is not set .* manage\.py"):
        project.load()
    assert "DJANGO_SETTINGS_MODULE" not in __import__("os").environ


def test_a_settings_module_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "nowhere.settings")
    with pytest.raises(UsageError, match=r"nowhere\.settings"):
        project.load()
