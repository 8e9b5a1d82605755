"""The OpenAPI document, made of the routes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from taskyard.api import documents
from taskyard.api.routes import Route, all_routes
from taskyard.api.shapes import ListOf, Object, Shape

_PROBLEM = "application/problem+json"
_WORDS = {
    400: "The body is no JSON, or does not arrive whole.", 401: "Nobody known is calling.",
    403: "The caller may not do this, or a request by session brings no CSRF token.",
    404: "There is nothing of that name or id to the caller: what is another tenant's is answered the same way.",
    405: "Not at this address.", 409: "Not in the state it is in, or a job for the same thing has not ended.",
    413: "The body or the arguments are too large.", 415: "The body is not application/json.",
    422: "Something in the request cannot be meant: `errors` says which field.",
    429: "Too many streams.", 500: "A fault of the application.",
    503: "What it takes is away (the broker, a tenant): try again.",
}  # fmt: skip
_LOOKING = (401, 403, 404, 422, 500, 503)
_DOING = (400, 401, 403, 404, 409, 413, 415, 422, 500, 503)
_SAYS = """Jobs, batches, failures, schedules, queues, tenants, workers and the audit of a Taskyard installation.

Lists are pages: `next` is the cursor of the next one, and null on the last. Errors are problem documents (RFC 9457).
"""


def openapi_view(request: HttpRequest) -> HttpResponse:
    """The document, to everybody: it tells nothing of this installation."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
    return JsonResponse(document(request.path.removesuffix("/openapi.json")), headers={"Cache-Control": "max-age=300"})


@lru_cache(maxsize=8)
def document(server: str) -> dict[str, Any]:
    """The whole of it; ``server``: where the API is found."""
    routes = all_routes()
    paths: dict[str, dict[str, Any]] = {}
    for each in routes:
        paths.setdefault(each.template, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taskyard", "version": "1", "description": _SAYS},
        "servers": [{"url": server}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(_components(routes))),
            "responses": {str(status): _problem(says) for status, says in _WORDS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "sessionid",
                    "description": "Of Django's; what changes something brings its CSRF token in X-CSRFToken.",
                },
            },
        },
    }  # fmt: skip


def _operation(each: Route) -> dict[str, Any]:
    summary, _, more = each.says.partition("\n\n")
    needs = f"Permission: {' and '.join(f'`taskyard.{one}`' for one in each.permissions)}." if each.permissions else ""
    found: dict[str, Any] = {
        "operationId": each.name, "tags": [each.tag], "summary": " ".join(summary.split()),
        "description": "\n\n".join(filter(None, (more, needs))), "parameters": [*_in_path(each), *_in_query(each)],
        "responses": _responses(each),
    }  # fmt: skip
    if each.body is not None:
        is_needed = bool(each.body.fields.keys() - each.body.optional)
        found["requestBody"] = {
            "required": is_needed, "content": {"application/json": {"schema": each.body.schema()}},
        }  # fmt: skip
    return found


def _in_path(each: Route) -> Iterator[dict[str, Any]]:
    for name in each.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(each: Route) -> Iterator[dict[str, Any]]:
    for name, shape in each.query.items():
        is_needed = isinstance(shape, ListOf) and shape.least > 0
        yield {"name": name, "in": "query", "required": is_needed, "schema": shape.schema()}


def _responses(each: Route) -> dict[str, Any]:
    content = {each.media: {"schema": each.answer.schema()}}
    done = {str(status): {"description": _done(status), "content": content} for status in each.statuses}
    if each.media == "text/event-stream":
        done["204"] = {"description": "All have ended, and the client knows it."}
    refused = _LOOKING if each.method == "GET" else _DOING
    refused = (*refused, 429) if "204" in done else refused
    return done | {str(status): {"$ref": f"#/components/responses/{status}"} for status in refused}


def _done(status: int) -> str:
    return {200: "Done.", 201: "Made.", 202: "Begun."}[status]


def _problem(says: str) -> dict[str, Any]:
    return {"description": says, "content": {_PROBLEM: {"schema": documents.PROBLEM.schema()}}}


def _components(routes: list[Route]) -> Iterator[tuple[str, Any]]:
    yield from _named(documents.PROBLEM)
    for each in routes:
        yield from _named(each.answer)


def _named(shape: Shape) -> Iterator[tuple[str, Any]]:
    if isinstance(shape, Object):
        if shape.name:
            yield shape.name, shape.whole_schema()
        for inner in shape.fields.values():
            yield from _named(inner)
    for within in (getattr(shape, "each", None), getattr(shape, "shape", None)):
        if isinstance(within, Shape):
            yield from _named(within)
