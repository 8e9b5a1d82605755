"""The pages and the code say the same: settings, states, commands, rooms, signals, fault points, tests, links."""

import argparse
import ast
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard import events
from taskyard.celery import application
from taskyard.entrypoint.cli import build_parser
from taskyard.jobs.states import State
from taskyard.runtime.faults import POINTS
from taskyard.tasks.retry import RetryPolicy
from taskyard.tasks.task import CallOptions, TaskOptions
from tools import settings_table

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    DOCS.rglob("*.md")
)
TEST = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def first_cells(page: str, *, heading: str = "") -> list[str]:
    """What stands in backquotes in the first column of the tables of a page, or of one section of it."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if heading:
        text = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def anchors(page: Path) -> set[str]:
    """Names of the headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_a_page_names_exists(page: Path) -> None:
    for path, test in TEST.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        assert file.is_file(), f"{named(page)} names {path}, which does not exist"
        functions = [node.name for node in ast.parse(file.read_text(encoding="utf-8")).body if is_function(node)]
        assert not test or test in functions, f"{named(page)} names {test}, which is not in {path}"


def is_function(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{named(page)} links to {target}"
        assert not anchor or anchor in anchors(file), f"{named(page)} links to {target}: no such heading"


def test_every_promise_of_the_readme_names_its_proof_and_its_figure() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (P\d) \|[^|]+\| ([^|]+) \|([^|]*)\|$", readme, re.MULTILINE)
    assert [promise for promise, *_ in rows] == ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"]
    assert [promise for promise, proof, _ in rows if "::test_" not in proof] == []
    # The links lead somewhere: another test follows all of them.
    assert [promise for promise, _, figure in rows if "](" not in figure] == []


def test_the_readme_shows_the_two_commands_on_its_first_screen() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:12])
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_every_setting_is_documented_as_its_comment_says() -> None:
    wanted = settings_table.page_with(settings_table.table())
    assert wanted == settings_table.PAGE.read_text(encoding="utf-8"), "run: python tools/settings_table.py --write"
    assert all(comment for _, comment in settings_table.comments())


def test_every_state_is_documented() -> None:
    documented = first_cells("architecture.md", heading="States")
    assert documented == [state.value for state in State]


def test_every_fault_point_is_documented() -> None:
    assert first_cells("architecture.md", heading="Fault points") == list(POINTS)


def test_every_command_is_documented() -> None:
    documented = [cell for cell in first_cells("operations.md", heading="Commands") if cell.startswith("taskyard ")]
    assert sorted(documented) == sorted(commands(build_parser("taskyard")))


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every command without further commands below it."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield parser.prog
    for group in groups:
        for child in group.choices.values():
            yield from commands(child)


def test_every_option_of_a_task_of_a_call_and_of_a_policy_is_documented() -> None:
    fields = {
        "Declaring": [field.name for field in dataclasses.fields(TaskOptions)] + ["name"],
        "Enqueuing": [field.name for field in dataclasses.fields(CallOptions)],
        "Retries": [field.name for field in dataclasses.fields(RetryPolicy)],
    }
    for heading, wanted in fields.items():
        documented = set(first_cells("tasks.md", heading=heading)) - {"using(...)"}
        assert documented == set(wanted), heading


def test_every_thread_is_documented() -> None:
    threads = set()
    for file in (ROOT / "src" / "taskyard").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        threads |= set(re.findall(r"""name(?:_prefix)?=f?"(taskyard-\w+)""", text))
        if "def run_once" in text:
            threads |= {f"taskyard-{agent}" for agent in re.findall(r'^    name = "(\w+)"$', text, re.MULTILINE)}
    text = (DOCS / "architecture.md").read_text(encoding="utf-8").split("## Threads of a worker")[1]
    of_commands = {"taskyard-parent", "taskyard-probe"}
    assert threads - of_commands == set(re.findall(r"`(taskyard-\w+)", text))


def test_every_system_check_is_documented_and_nothing_else_is() -> None:
    said = set()
    for file in (ROOT / "src" / "taskyard" / "checks").rglob("*.py"):
        said |= set(re.findall(r'Found\(\s*"([EW]\d{3})"', file.read_text(encoding="utf-8")))
    sections = re.findall(r"^## (.+)$", (DOCS / "checks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [*sorted(said), "What it costs"]


def test_every_default_that_differs_from_celerys_is_documented() -> None:
    documented = first_cells("celery.md", heading="What changes with it")
    assert set(documented) >= set(application.DEFAULTS)


def test_every_signal_is_documented() -> None:
    signals = [name for name, value in vars(events).items() if isinstance(value, events.Signal)]
    assert first_cells("tasks.md", heading="Signals")[1:] == signals


def test_the_rooms_are_documented_in_the_order_of_the_import_contract() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contract if one["id"] == "layers")
    package = ROOT / "src" / "taskyard"
    rooms = [room for layer in layers for room in re.findall(r"\w+", layer)]
    existing = [room for room in rooms if (package / room).is_dir() or (package / f"{room}.py").is_file()]
    assert first_cells("architecture.md", heading="Rooms") == existing


def test_every_page_is_listed_in_the_readme_and_every_decision_in_its_list() -> None:
    readme, decisions = (ROOT / "README.md").read_text(), (DOCS / "decisions" / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"(docs/{page.name})" in readme, page.name
    for page in (DOCS / "decisions").glob("0*.md"):
        assert f"({page.name})" in decisions, page.name
