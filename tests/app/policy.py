"""A content security policy as strict as a project may have: nothing but files of its own."""

from collections.abc import Callable
from typing import Any

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'"
)


def strict(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """For ``MIDDLEWARE``."""

    def respond(request: Any) -> Any:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return respond
