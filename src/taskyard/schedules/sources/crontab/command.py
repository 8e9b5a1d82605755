"""What a crontab line's command asks for: a program or a shell, a log file, input. Pure: nothing is looked up."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping

#: Where any of these stands, also within quotes, a shell decides what it means.
_SHELL_CHARACTERS = frozenset("|&;<>()$`*?[]{}~#!\\\n")
#: Words that no program stands for, at the beginning of a command.
_SHELL_WORDS = frozenset((
    ".", ":", "[", "case", "cd", "command", "eval", "exec", "exit", "export", "for", "if", "read", "set", "source",
    "test", "time", "trap", "type", "ulimit", "umask", "unset", "until", "while",
))  # fmt: skip
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_VARIABLE = re.compile(r"\$(?:(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")
#: At the end of a line: ``>> FILE 2>&1`` or ``> FILE 2>&1``, where FILE is a word that may hold variables.
_REDIRECT = re.compile(
    r"(?<![\w&>|<])(?P<how>>>?)\s*(?P<file>(?:[^\s|&;<>()$`*?\[\]{}~#!\\'\"]|\$\w+|\$\{\w+\})+)\s+2>&1\s*$"
)
#: cron's: what stands behind the first is input, each further one begins a line of it.
_PERCENT = re.compile(r"(?<!\\)%")


class BrokenCommand(Exception):
    """A command that cannot be run as it stands; ``at`` is where in its text."""

    def __init__(self, problem: str, at: int = 0) -> None:
        self.problem, self.at = problem, at
        super().__init__(problem)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """How to run it."""

    #: Words of a program's call; empty: ``script`` is for a shell.
    argv: tuple[str, ...]
    script: str = ""
    #: The file its output goes to, as it is written in the line, variables and all; empty: none is named.
    log: str = ""
    #: ``>``: the file begins anew with each run.
    is_log_emptied: bool = False
    #: What it reads.
    input: str = ""

    def log_in(self, environment: Mapping[str, str]) -> str:
        """:attr:`log` with its variables replaced, as a shell would."""
        return _VARIABLE.sub(lambda found: environment.get(found["bare"] or found["braced"], ""), self.log)


def understood(text: str) -> Command:
    """Take a command apart, as cron would run it; raises :class:`BrokenCommand`.

    A redirect of both outputs at the end of the line is ours to do. What else only a shell can read is left to one,
    as it stands.
    """
    text, *lines = _PERCENT.split(text)
    text, given = text.replace("\\%", "%"), "\n".join(lines).replace("\\%", "%")
    found = _REDIRECT.search(text)
    rest = (text[: found.start()] if found else text).strip()
    if not rest:
        raise BrokenCommand("there is no command")
    words = () if _needs_shell(rest) else _words(rest)
    return Command(
        argv=words, script="" if words else rest, log=found["file"] if found else "",
        is_log_emptied=found is not None and found["how"] == ">", input=given,
    )  # fmt: skip


def _needs_shell(text: str) -> bool:
    first = text.split(maxsplit=1)[0]
    return not _SHELL_CHARACTERS.isdisjoint(text) or first in _SHELL_WORDS or _ASSIGNMENT.match(first) is not None


def _words(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise BrokenCommand("a quote is not closed", _last_quote(text)) from None
    if not words[0]:
        raise BrokenCommand("the name of the program is empty")
    return words


def _last_quote(text: str) -> int:
    """Where the quote begins that is not closed."""
    begun = -1
    for place, letter in enumerate(text):
        if begun < 0 and letter in "'\"":
            begun = place
        elif begun >= 0 and letter == text[begun]:
            begun = -1
    return max(begun, 0)
