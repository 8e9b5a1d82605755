"""The public keys of an issuer: fetched from one address, kept, and asked for again only now and then."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jwt

from taskyard.integrations.trigger.caller import Refused
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

#: Keys are fetched again after this long.
LIFETIME_SECONDS = 3600.0
#: Never more often than this, whatever tokens name: nobody can make us hammer the issuer.
REFETCH_SECONDS = 60.0
#: While the issuer does not answer, keys are used for so long: withdrawing one must take effect.
STALE_SECONDS = 24 * 3600.0
TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 256 * 1024


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Wherever it leads, that is not the address of the settings."""


def fetch(url: str) -> Any:
    """The document at an address; raises OSError or ValueError."""
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
        text = answer.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
    return json.loads(text)


class KeySet:
    """Keys by their ids. Threads share it; ``clock`` is monotonic."""

    def __init__(self, get: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._get, self._clock = get, clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = threading.Lock()

    def find(self, kid: str) -> jwt.PyJWK:
        """The key of that id; raises :class:`Refused`."""
        if kid not in self._keys or self._age() >= LIFETIME_SECONDS:
            self._renew()
        if self._age() >= STALE_SECONDS:
            raise Refused("the issuer's keys cannot be fetched")
        key = self._keys.get(kid)
        if key is None:
            raise Refused(f"it is signed with a key that the issuer does not publish: {kid!r:.60}")
        return key

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _renew(self) -> None:
        # Where keys are there nobody waits for the one who fetches: made-up ids must not hold up threads.
        if not self._lock.acquire(blocking=self._age() >= STALE_SECONDS):
            return
        try:
            if self._tried_at is None or self._clock() - self._tried_at >= REFETCH_SECONDS:
                self._tried_at = self._clock()
                self._fetch()
        finally:
            self._lock.release()

    def _fetch(self) -> None:
        try:
            self._keys = read(self._get())
        except (OSError, ValueError, http.client.HTTPException):
            logger.exception("The keys of the issuer (TRIGGER['JWKS_URL']) cannot be fetched.")
        else:
            self._fetched_at = self._clock()


def read(document: Any) -> Mapping[str, jwt.PyJWK]:
    """The usable keys of a JSON Web Key Set (RFC 7517) by id; raises ValueError if it is none."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JSON Web Key Set")
    keys = {}
    for each in listed:
        # A shared secret would verify what it signs itself; keys for encryption sign nothing.
        if not isinstance(each, Mapping) or each.get("kty") == "oct" or each.get("use", "sig") != "sig":
            continue
        try:
            keys[str(each.get("kid", ""))] = jwt.PyJWK(dict(each))
        except jwt.PyJWTError:
            logger.warning("A key of the issuer is of a kind that is not known here: %.60r", each.get("kty"))
    return keys


@lru_cache(maxsize=4)
def _of_url(url: str) -> KeySet:
    return KeySet(lambda: fetch(url))


def key_set() -> Callable[[str], jwt.PyJWK]:
    """Finds the issuer's keys, as the settings say where they are."""
    settings = get_settings().trigger
    assert settings is not None
    if settings.jwks_url:
        return _of_url(settings.jwks_url).find
    return KeySet(lambda: settings.jwks).find
