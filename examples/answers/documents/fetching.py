"""Read a source over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

TIMEOUT_SECONDS = 5
MOST_BYTES = 4_000_000


class BadFeed(Exception):
    """It answers, and not with what a source should say. Trying again would change nothing."""


def fetch(url: str, page: int = 1) -> dict[str, Any]:
    """A page: ``{"documents": [{"key", "title", "text"}], "total", "next"}``.

    Raises ``ConnectionError`` or ``TimeoutError`` for what may pass, :class:`BadFeed` for the rest.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadFeed(f"{url} is no address of the web")
    try:
        with urlopen(Request(f"{url}?page={page}"), timeout=TIMEOUT_SECONDS) as answer:
            said = json.loads(answer.read(MOST_BYTES))
    except HTTPError as error:
        with error:
            if error.code >= 500:
                raise ConnectionError(f"it answers with {error.code}") from error
            raise BadFeed(f"it answers with {error.code}") from error
    except URLError as error:
        raise ConnectionError(f"it does not answer: {error.reason}") from error
    except http.client.HTTPException as error:
        raise ConnectionError(f"it breaks off: {error!r}") from error
    except ValueError as error:
        raise BadFeed("what it says is no JSON") from error
    if not isinstance(said, dict) or not isinstance(said.get("documents"), list):
        raise BadFeed("there are no documents in what it says")
    return said
