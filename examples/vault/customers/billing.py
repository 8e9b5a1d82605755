"""What the billing service is asked for, over HTTP; ``billing_service.py`` is that service."""

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from django.conf import settings


class CardDeclined(Exception):
    """The card was declined."""


class BillingDown(ConnectionError):
    """The billing service does not answer, or says that it cannot."""


def open_account(name: str, *, key: str) -> str:
    """The number of the account; with a key it knows, of the one it opened then."""
    return str(_ask("POST", "/accounts", {"name": name}, key=key)["account"])


def charge(account: str, card: str, *, key: str) -> None:
    """Raises :class:`CardDeclined`."""
    _ask("POST", f"/accounts/{account}/charges", {"card": card}, key=key)


def close_account(account: str, *, key: str) -> None:
    """All is well where there is none."""
    _ask("DELETE", f"/accounts/{account}", key=key)


def _ask(method: str, path: str, said: dict[str, str] | None = None, *, key: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = Request(settings.BILLING + path, json.dumps(said or {}).encode(), headers, method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except HTTPError as refusal:
        refusal.close()
        if refusal.code == 402:
            raise CardDeclined(f"account of {path}") from None
        raise BillingDown(f"{method} {path}: {refusal.code}") from None
    except URLError as error:
        raise BillingDown(f"{method} {path}: {error.reason}") from None
