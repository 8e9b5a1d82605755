"""``TASKYARD["TRIGGER"]``: whom the HTTP trigger believes, read and checked with the other settings."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from taskyard.errors import ConfigurationError

#: What stands in ``AUDIENCE`` for the name of the schedule: a token is good for one of them.
PLACE_OF_NAME = "{schedule}"
#: Who may trigger every schedule, among ``subjects``.
ANY_SCHEDULE = "*"
#: Signatures by a private key only: with a shared secret, whoever can verify can forge, and "none" is no signature.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

_MOST_SKEW = dt.timedelta(minutes=1)
_MOST_LATENESS = dt.timedelta(days=1)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TOKENS_ONLY = ("AUDIENCE", "JWKS_URL", "JWKS", "ALGORITHMS", "SUBJECTS", "REUSED_TOKENS")


class Key(Protocol):
    """A shared secret (:class:`taskyard.settings.SigningKey`)."""

    id: str
    secret: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """``TRIGGER = {...}``, keys in upper case: tokens of an ``ISSUER``, headers signed with ``KEYS``, or both."""

    #: ``iss`` of the tokens, exactly; empty: no token is accepted.
    issuer: str = ""
    #: ``aud`` of the tokens; ``{schedule}`` in it stands for the schedule's name.
    audience: str = ""
    #: Where the issuer publishes its keys; https, or this very machine.
    jwks_url: str = ""
    #: The keys themselves instead, as the issuer's document gives them.
    jwks: Mapping[str, Any] | None = None
    #: What tokens may be signed with.
    algorithms: tuple[str, ...] = ("RS256",)
    #: By schedule, or ``"*"`` for every one: e-mail addresses (verified) or subjects whose tokens are accepted.
    subjects: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    #: The issuer uses one token for several due times.
    reused_tokens: bool = False
    #: Shared secrets of signed headers; each of them verifies.
    keys: tuple[Key, ...] = ()
    #: How far clocks may differ.
    skew: dt.timedelta = dt.timedelta(seconds=60)
    #: How long after its time a due time may still be delivered.
    lateness: dt.timedelta = dt.timedelta(hours=1)

    def audience_of(self, schedule: str) -> str:
        """What tokens for one schedule must be made for."""
        return self.audience.replace(PLACE_OF_NAME, schedule)

    def subjects_of(self, schedule: str) -> tuple[str, ...]:
        """Who may trigger one schedule."""
        return self.subjects.get(schedule, self.subjects.get(ANY_SCHEDULE, ()))


def read_trigger(value: Any, as_keys: Callable[[Any], tuple[Key, ...]]) -> TriggerSettings | None:
    """The settings of a dict, or None for None; raises :class:`ConfigurationError` naming every problem."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError("a dict, or None")
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, given in value.items():
        try:
            read = as_keys if key == "KEYS" else _READ[key]
            values[str(key).lower()] = read(given)
        except KeyError:
            problems.append(f"TRIGGER[{key!r}] is not a setting; there are {', '.join([*_READ, 'KEYS'])}.")
        except TypeError as wanted:
            shown = "something else (not shown)" if key in ("KEYS", "JWKS") else repr(given)
            problems.append(f"TRIGGER[{key!r}] must be {wanted}; it is {shown}.")
    problems += [] if problems else _contradictions(values)
    if problems:
        raise ConfigurationError(problems)
    return TriggerSettings(**values)


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    if not values.get("issuer"):
        given = [key for key in _TOKENS_ONLY if key.lower() in values]
        if given:
            yield f"TRIGGER has {', '.join(given)} and no ISSUER: nobody's tokens are meant."
        elif not values.get("keys"):
            yield "TRIGGER names nobody who may trigger: give ISSUER for tokens, or KEYS for signed headers."
        return
    if find_spec("jwt") is None:
        yield "TRIGGER['ISSUER'] needs PyJWT: pip install 'taskyard[trigger]'."
    if not values.get("audience"):
        yield f"TRIGGER['AUDIENCE'] is missing, for example 'https://example.com/schedules/{PLACE_OF_NAME}'."
    if bool(values.get("jwks_url")) == bool(values.get("jwks")):
        yield "TRIGGER needs the issuer's keys from one place: JWKS_URL or JWKS."
    subjects = values.get("subjects")
    if not subjects:
        yield (
            "TRIGGER['SUBJECTS'] is missing: with many issuers anybody can get a token for any audience, so say whose "
            "are accepted, for example ['scheduler@my-project.iam.gserviceaccount.com']."
        )
    elif PLACE_OF_NAME not in values.get("audience", "") and ANY_SCHEDULE in subjects:
        yield (
            f"TRIGGER['AUDIENCE'] is the same for every schedule, so a token for one would trigger any other: put "
            f"{PLACE_OF_NAME} into it, or make SUBJECTS a dict of schedule names."
        )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("a string that is not empty")
    return value


def _url(value: Any) -> str:
    try:
        parts = urlsplit(_text(value))
    except ValueError as error:
        raise TypeError(f"a URL ({error})") from error
    if not parts.hostname or parts.scheme not in ("https", "http"):
        raise TypeError("a URL, for example 'https://www.googleapis.com/oauth2/v3/certs'")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise TypeError("an https URL: whoever can change the keys on their way can forge tokens")
    return str(value)


def _key_set(value: Any) -> Mapping[str, Any]:
    keys = value.get("keys") if isinstance(value, Mapping) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, Mapping) for key in keys):
        raise TypeError("a JSON Web Key Set, {'keys': [...]}, with at least one key")
    if any(key.get("kty") == "oct" or "d" in key for key in keys):
        raise TypeError("a set of public keys; one of them is secret")
    return dict(value)


def _algorithms(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not set(value) <= set(ALGORITHMS):
        raise TypeError(f"a list of some of {', '.join(ALGORITHMS)}")
    return tuple(value)


def _subjects(value: Any) -> Mapping[str, tuple[str, ...]]:
    by_schedule = value if isinstance(value, Mapping) else {ANY_SCHEDULE: value}
    for names in by_schedule.values() or [()]:
        is_list = isinstance(names, (list, tuple)) and len(names) > 0
        if not is_list or not all(name and isinstance(name, str) for name in names):
            raise TypeError("a list of e-mail addresses or subjects, or a dict of schedule name to such a list")
    return MappingProxyType({str(schedule): tuple(names) for schedule, names in by_schedule.items()})


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("True or False")
    return value


def _span(most: dt.timedelta) -> Callable[[Any], dt.timedelta]:
    def read(value: Any) -> dt.timedelta:
        if not isinstance(value, dt.timedelta) or not dt.timedelta(0) <= value <= most:
            raise TypeError(f"a timedelta from 0 to {int(most.total_seconds()):,} seconds")
        return value

    return read


_READ: Mapping[str, Callable[[Any], Any]] = {
    "ISSUER": _text, "AUDIENCE": _text, "JWKS_URL": _url, "JWKS": _key_set, "ALGORITHMS": _algorithms,
    "SUBJECTS": _subjects, "REUSED_TOKENS": _bool, "SKEW": _span(_MOST_SKEW), "LATENESS": _span(_MOST_LATENESS),
}  # fmt: skip
