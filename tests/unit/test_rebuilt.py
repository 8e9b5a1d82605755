"""Exceptions from stored names: what a result's reader gets, whoever wrote the row."""

import json
import subprocess
from typing import Any

import pytest

from taskyard.celery.results.rebuilt import rebuilt
from taskyard.errors import JobFenced

CALLS: list[Any] = []


class Touchy(Exception):
    """Does something when it is made."""

    def __init_subclass__(cls) -> None:
        CALLS.append(cls)

    def __new__(cls, *args: Any) -> Any:
        CALLS.append(args)
        return super().__new__(cls)

    def __init__(self, one: int, two: int) -> None:
        CALLS.append((one, two))
        super().__init__(one + two)

    class Inner(ValueError):
        """A class within a class."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ValueError", ValueError),
        ("KeyError", KeyError),
        ("OSError", OSError),
        ("UnicodeDecodeError", UnicodeDecodeError),
        ("subprocess.CalledProcessError", subprocess.CalledProcessError),
        ("json.decoder.JSONDecodeError", json.JSONDecodeError),
        ("taskyard.errors.JobFenced", JobFenced),
        (f"{__name__}.Touchy", Touchy),
        (f"{__name__}.Touchy.Inner", Touchy.Inner),
    ],
)
def test_a_known_exception_is_caught_as_what_it_was_and_says_what_was_stored(name: str, kind: type[Exception]) -> None:
    error = rebuilt(name, "the stored text")
    assert isinstance(error, kind)
    assert (type(error).__name__, str(error)) == (kind.__name__, "the stored text")
    assert CALLS == []


@pytest.mark.parametrize(
    "name",
    ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "BaseException", "eval", "builtins.exec", "os.system",
     "subprocess.Popen", "subprocess.check_output", "not.imported.Error", f"{__name__}.CALLS", "ExceptionGroup", "",
     ".", "..", "a b", "x\x00y", "é.ü", "os.", ".system", "sys.modules.os.system", "x" * 10_000, "Exception"],
)  # fmt: skip
def test_anything_else_is_a_plain_exception_of_that_name(name: str) -> None:
    error = rebuilt(name, "touch /tmp/x")
    assert type(error).__mro__[1] is Exception or type(error) is Exception
    assert (str(error), error.args) == ("touch /tmp/x", ("touch /tmp/x",))
