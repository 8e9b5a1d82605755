"""A secret of the settings that does not show itself."""

from __future__ import annotations

import hmac


class SigningKey:
    """A secret that shows its id instead of itself, wherever it is printed."""

    __slots__ = ("id", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        #: Names the key in messages and logs; tells nothing about it.
        self.id = hmac.digest(secret, b"taskyard key id", "sha256").hex()[:12]

    def __repr__(self) -> str:
        return f"<SigningKey {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and hmac.compare_digest(self.secret, other.secret)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")
