"""Which names say that their value is a secret."""

from __future__ import annotations

import re
from collections.abc import Collection

from taskyard.settings import get_settings

#: Telling wherever they stand in a name without its punctuation.
_IN_NAMES = re.compile(
    r"passw(?:or)?d|passphrase|secret|apikey|credential|privatekey|accesskey|signingkey|encryptionkey|authtoken|"
    r"accesstoken|refreshtoken|connectionstring|authorization|creditcard|cardnumber"
)
#: Telling as one of the words of a name.
_WORDS = frozenset({
    "pwd", "pass", "token", "jwt", "bearer", "cookie", "auth", "dsn", "pin", "cvv", "cvc", "otp", "totp", "ssn",
    "iban", "csrf", "csrfmiddlewaretoken", "session", "sessionid", "sid"
})  # fmt: skip
#: First and last words of names that speak about a secret without holding it: ``max_tokens``, ``password_length``.
_ABOUT = frozenset({
    "max", "min", "num", "total", "has", "is", "needs", "use", "prompt", "completion", "input", "output",
    "count", "length", "size", "limit", "at", "seconds", "type", "policy", "usage"
})  # fmt: skip
_BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def is_sensitive(name: str, names: Collection[str] = ()) -> bool:
    """Whether a value of that name is a secret; ``names`` are more of them, in lower case."""
    if name.lower() in names:
        return True
    words = [word.lower() for word in _BETWEEN_WORDS.split(name[:200]) if word]
    if not words or words[0] in _ABOUT or words[-1] in _ABOUT:
        return False
    singular = {word.removesuffix("s") for word in words}
    return not _WORDS.isdisjoint(singular.union(words)) or _IN_NAMES.search("".join(words)) is not None


def more_names(of_task: Collection[str] = ()) -> frozenset[str]:
    """What the project calls a secret, and what a task does."""
    return frozenset(name.lower() for name in (*get_settings().sensitive, *of_task))
