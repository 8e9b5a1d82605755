"""What makes two failures the same: a pure rule, stable from one release to the next."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re

#: Part of every fingerprint. Another rule is another version: its groups are new ones beside the old.
VERSION = 1
#: Characters of a message that count, once what differs from job to job is out; what is behind them is not looked at.
LONGEST_MESSAGE = 500
#: Characters of a message that are looked at.
_LOOKED_AT = 4000

#: In this order: an address holds a path, a date numbers.
_DIFFERENT = (
    (re.compile(r"\b[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), "<email>"),
    (re.compile(r"\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|\s?[+-]\d\d:?\d\d)?)?"), "<date>"),
    # Not a piece of 10.0.0.12: of some hosts it would look like a date, and of others not.
    (re.compile(r"\b(?<![\d.])\d{1,2}[./]\d{1,2}[./]\d{2,4}\b(?!\.\d)|\b\d\d:\d\d(?::\d\d(?:\.\d+)?)?\b"), "<date>"),
    (
        re.compile(r"(?<!\w)[bru]?'(?:[^'\\]|\\.)*'(?!\w)|(?<!\w)[bru]?\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL),
        "<text>",
    ),
    (re.compile(r"(?<![\w.<])(?:[a-z]:\\|~?/|\.{1,2}/)[^\s:'\",;()]+", re.IGNORECASE), "<path>"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(r"(?:(?<!\w)[+-])?\d+(?:[.,_]\d+)*(?:e[+-]?\d+)?", re.IGNORECASE), "<n>"),
    (re.compile(r"\s+"), " "),
    # Lists differ in their length.
    (re.compile(r"(<\w+>)(?:, ?\1)+"), r"\1, …"),
)


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is known of one failure, without secrets; all of it counts, and nothing else does."""

    task: str
    error_type: str
    #: Our code for how it came about (``time-limit``, ``poison``, ``upstream``); empty for an error of the body's.
    reason: str = ""
    message: str = ""
    #: ``module:function`` of the deepest frames of the project's own code, the deepest last. No line numbers: these
    #: change with every release.
    frames: tuple[str, ...] = ()

    @functools.cached_property
    def pattern(self) -> str:
        """The message without what differs from job to job."""
        text = self.message[:_LOOKED_AT]
        for different, name in _DIFFERENT:
            text = different.sub(name, text)
        return text.strip()[:LONGEST_MESSAGE]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the group it belongs to: the version, and 64 bits of a digest."""
        words = (self.task, self.error_type, self.reason, self.pattern, *self.frames)
        digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()
        return f"{VERSION}-{digest[:16]}"
