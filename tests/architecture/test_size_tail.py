"""The size tail holds, and the check that says so sees each thing it is meant to see."""

from pathlib import Path

import pytest

from tools import size_tail


def test_the_code_is_within_its_limits() -> None:
    problems = size_tail.verdict(size_tail.ROOT, size_tail.EXCEPTIONS)
    assert not problems, "\n".join(problems)


LONG = "def long():\n" + "    x = 1\n" * 41
DEEP = """
def deep(a):
    if a:
        for b in a:
            while b:
                with b:
                    pass
"""
INNER = """
def outer(a):
    if a:
        for b in a:
            def inner(c):
                if c:
                    while c:
                        pass
"""
PLANTS = {
    "a long function": ("room/a.py", LONG, "function-lines", "long has 42 lines"),
    "a long method": (
        "room/a.py",
        "class A:\n" + "".join(f"    {line}\n" for line in LONG.splitlines()),
        "function-lines",
        "A.long",
    ),
    "a long file": ("room/a.py", "x = 1\n" * 401, "file-lines", "401 lines"),
    "deep nesting": ("room/a.py", DEEP, "nesting", "deep nests 4 deep"),
    "many parameters": ("room/a.py", "def many(*, a, b, c, d, e, f, g): ...\n", "parameters", "7 parameters"),
    "positional parameters": ("room/a.py", "def three(a, b, c): ...\n", "positional", "3 parameters by position"),
    "a shapeless name": ("room/utils.py", "", "name", "utils.py says nothing"),
    "except Exception": (
        "room/a.py",
        "try:\n    pass\nexcept Exception:\n    raise\n",
        "catch-all",
        "the module catches",
    ),
    "bare except": (
        "room/a.py",
        "def f():\n    try:\n        pass\n    except:\n        raise\n",
        "catch-all",
        "f catches",
    ),
    "hidden in a tuple": (
        "room/a.py",
        "try:\n    pass\nexcept (OSError, BaseException):\n    pass\n",
        "catch-all",
        "catches",
    ),
    "a sleep": ("room/a.py", "import time\ndef f():\n    time.sleep(1)\n", "sleep", "f sleeps"),
    "an imported sleep": ("room/a.py", "from time import sleep as rest\nrest(1)\n", "sleep", "the module sleeps"),
    "a sleep in a test": ("tests/unit/test_a.py", "import time\ntime.sleep(1)\n", "sleep", "sleeps"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_violation_is_found(plant: str, tmp_path: Path) -> None:
    path, text, rule, says = PLANTS[plant]
    write(tmp_path, path, text)
    found = size_tail.findings(tmp_path)
    assert [finding.rule for finding in found] == [rule]
    assert says in str(found[0])
    assert "\n" not in str(found[0])


def test_an_eleventh_file_in_a_room_is_found(tmp_path: Path) -> None:
    for number in range(11):
        write(tmp_path, f"room/part{number}.py", "")
    assert [finding.rule for finding in size_tail.findings(tmp_path)] == ["room-files"]


@pytest.mark.parametrize(
    "text",
    [
        'def documented():\n    """' + "word\n" * 60 + '    """\n    return 1\n',
        "def choose(a):\n"
        + "".join(f"    {word} a == {n}:\n        pass\n" for n, word in enumerate(["if"] + ["elif"] * 9)),
        "def named(a, b, *, c, d): ...\n",
        "class A:\n    def method(self, a, b): ...\n    def __exit__(self, a, b, c): ...\n",
        "try:\n    pass\nexcept (OSError, ValueError):\n    pass\n",
        INNER,
    ],
)
def test_what_is_allowed_is_not_reported(text: str, tmp_path: Path) -> None:
    write(tmp_path, "room/a.py", text)
    assert size_tail.findings(tmp_path) == []


def test_a_listed_exception_is_accepted_and_a_stale_one_reported(tmp_path: Path) -> None:
    write(tmp_path, "room/a.py", LONG)
    entry = '[[except]]\nrule = "function-lines"\nwhere = "src/taskyard/room/a.py::{}"\nreason = "one list of verbs"\n'
    exceptions = tmp_path / "exceptions.toml"
    exceptions.write_text(entry.format("long"))
    assert size_tail.verdict(tmp_path, exceptions) == []
    exceptions.write_text(entry.format("long") + entry.format("gone"))
    assert ["gone" in problem for problem in size_tail.verdict(tmp_path, exceptions)] == [True]


def test_an_exception_without_a_reason_is_refused(tmp_path: Path) -> None:
    exceptions = tmp_path / "exceptions.toml"
    exceptions.write_text('[[except]]\nrule = "sleep"\nwhere = "a.py"\nreason = ""\n')
    with pytest.raises(SystemExit, match="reason"):
        size_tail.listed(exceptions)


def write(root: Path, path: str, text: str) -> None:
    folder = root if path.startswith("tests/") else root / "src" / "taskyard"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
