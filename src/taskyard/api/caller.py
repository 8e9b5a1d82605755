"""Who calls: by a token, or by the session of Django's."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from taskyard.integrations.problems import Problem
from taskyard.operations import Actor
from taskyard.operations.tokens import actor_of

VIA = "api"
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD"})
_KIND = "urn:taskyard:api:"


class Refused(Exception):
    """A request that is answered with a problem, before anything is done."""

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        self.problem, self.headers = problem, headers or {}
        super().__init__(problem.detail)


def refused(status: int, kind: str, *, title: str, detail: str) -> Refused:
    """One of the interface's own."""
    return Refused(Problem(status, _KIND + kind, title, detail))


def caller_of(request: HttpRequest) -> Actor:
    """Whoever a request is from; raises :class:`Refused`.

    A header ``Authorization`` is decisive where there is one. With a session, whatever changes something must bring
    Django's CSRF token: a browser sends the cookie for other sites' pages as well.
    """
    header = request.headers.get("Authorization", "")
    if header:
        return _by_token(request, header)
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not user.is_active:
        raise _unknown("Send a token (Authorization: Bearer …), or the session cookie of a user.")
    if request.method not in SAFE:
        _refuse_forged(request)
    return Actor.of_request(request, via=VIA)


def _by_token(request: HttpRequest, header: str) -> Actor:
    kind, _, secret = header.partition(" ")
    if kind.lower() != "bearer":
        raise _unknown("Only Bearer tokens are taken in the header Authorization.")
    actor = actor_of(secret.strip(), via=VIA, address=request.META.get("REMOTE_ADDR") or "")
    if actor is None:
        # Not which of these: whoever guesses learns nothing.
        raise _unknown("The token is unknown, revoked or expired, or its user is gone.", ' error="invalid_token"')
    return actor


def _unknown(detail: str, more: str = "") -> Refused:
    says = refused(401, "unauthenticated", title="Who are you?", detail=detail)
    says.headers["WWW-Authenticate"] = f'Bearer realm="taskyard"{more and ","}{more}'
    return says


class _Check(CsrfViewMiddleware):
    """Django's own check, as an answer rather than a page."""

    def _reject(self, request: HttpRequest, reason: str) -> str:
        return reason


def _refuse_forged(request: HttpRequest) -> None:
    check = _Check(lambda request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, lambda request: HttpResponse(), (), {})
    if reason:
        detail = f"A request by session needs Django's CSRF token in the header X-CSRFToken: {reason}"
        raise refused(403, "csrf", title="Not from your own page", detail=detail)
