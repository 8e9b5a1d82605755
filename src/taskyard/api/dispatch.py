"""From a request to a handler and from what came of it to a response; every error is a problem document."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from django.utils.cache import patch_vary_headers

from taskyard.api.caller import SAFE, Refused, caller_of, refused
from taskyard.api.documents import as_json
from taskyard.api.routes import Answer, Asked, Route
from taskyard.api.shapes import ListOf, Object, Shape, Wrong, refuse_unknown
from taskyard.errors import InvalidSchedule, NotFound
from taskyard.integrations.problems import Problem, problem_of
from taskyard.settings import get_settings

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
#: A body may be so much larger than the arguments in it may be: JSON escapes, and what is said beside them.
_TIMES, _MORE_BYTES = 2, 65_536
_LONGEST = 300
_FAULT = Problem(
    500, "urn:taskyard:error:fault", "Internal error", "This is a fault of the application; its log says what happened."
)


class Resource:
    """The view of one address: its routes by method."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = {each.method: each for each in routes}
        self.methods = sorted(self.routes.keys() | ({"HEAD"} if "GET" in self.routes else set()) | {"OPTIONS"})

    def __call__(self, request: HttpRequest, **path: str) -> HttpResponseBase:
        """The answer."""
        try:
            response = self._answer(request, path)
        except Refused as error:
            response = _problem(request, error.problem)
            for name, value in error.headers.items():
                response[name] = value
        except Exception as error:
            response = _of_error(request, error)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        patch_vary_headers(response, ("Cookie", "Authorization"))
        return response

    def _answer(self, request: HttpRequest, path: Mapping[str, str]) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": ", ".join(self.methods)})
        route = self.routes.get("GET" if request.method == "HEAD" else request.method or "")
        if route is None:
            raise self._no_such_method(request)
        actor = caller_of(request)
        if any(not name.isprintable() or len(name) > _LONGEST for name in path.values()):
            # No database need be asked, and not each of them could be.
            raise NotFound(route.tag, "of that name")
        asked = Asked(
            request=request, actor=actor, path=path, query=_query(request, route.query), body=_body(request, route)
        )
        found = route.act(asked)
        if isinstance(found, HttpResponseBase):
            return found
        answer = found if isinstance(found, Answer) else Answer(found, route.statuses[0])
        return HttpResponse(
            as_json(answer.document), status=answer.status, headers=dict(answer.headers),
            content_type="application/json",
        )  # fmt: skip

    def _no_such_method(self, request: HttpRequest) -> Refused:
        detail = f"There is {', '.join(self.methods)} at this address."
        error = refused(405, "method", title="Method not allowed", detail=detail)
        error.headers["Allow"] = ", ".join(self.methods)
        return error


def no_such_address(request: HttpRequest, rest: str = "") -> HttpResponse:
    """Below ``/api/v1/``, where nothing is."""
    says = "There is nothing at this address; openapi.json, below v1/, says what there is."
    return _problem(request, Problem(404, "urn:taskyard:api:address", "Not found", says))


def _problem(request: HttpRequest, problem: Problem, errors: Sequence[Mapping[str, str]] = ()) -> HttpResponse:
    document = problem.document(request.path)
    if errors:
        document["errors"] = list(errors)
    return JsonResponse(document, status=problem.status, headers=problem.headers, content_type=PROBLEM)


def _of_error(request: HttpRequest, error: Exception) -> HttpResponse:
    if isinstance(error, Wrong):
        says = Problem(422, "urn:taskyard:api:invalid", "Not understood", str(error))
        return _problem(request, says, [{"field": error.field, "problem": error.problem}])
    if isinstance(error, InvalidSchedule):
        found = problem_of(error)
        named = [{"field": field, "problem": text} for field, text in zip(error.fields, error.problems, strict=True)]
        return _problem(request, found or _FAULT, named)
    found = problem_of(error)
    if found is None or found.status == 500:
        # As Django does for what leaves a view: whoever collects errors gets it.
        got_request_exception.send(sender=Resource, request=request)
        logger.error("Internal error: %s", request.path, exc_info=error, extra={"status_code": 500, "request": request})
    return _problem(request, found or _FAULT)


# -- reading -----------------------------------------------------------------------------------------------------------


def _query(request: HttpRequest, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    refuse_unknown("", given=request.GET, known=shapes)
    found: dict[str, Any] = {}
    for name, shape in shapes.items():
        if isinstance(shape, ListOf) and shape.least and name not in request.GET:
            raise Wrong(name, "it is missing.")
    for name in request.GET:
        texts, shape = request.GET.getlist(name), shapes[name]
        if isinstance(shape, ListOf):
            found[name] = shape.parse_all(name, texts)
        elif len(texts) > 1:
            raise Wrong(name, "it is there more than once.")
        else:
            found[name] = shape.parse(name, texts[0])
    return found


def _body(request: HttpRequest, route: Route) -> dict[str, Any]:
    if request.method in SAFE:
        return {}
    text = _text(request)
    shape = route.body or Object({})
    if not text.strip():
        return shape.read("", {}) if route.body is None or not _needs(route.body) else _missing()
    if request.content_type != "application/json":
        raise refused(415, "media-type", title="Not JSON", detail="Send the body as application/json.")
    return shape.read("", _parsed(text))


def _needs(shape: Object) -> bool:
    return bool(shape.fields.keys() - shape.optional)


def _missing() -> dict[str, Any]:
    raise refused(400, "malformed", title="No body", detail="This takes a body: a JSON object.")


def _text(request: HttpRequest) -> bytes:
    most = get_settings().max_payload_bytes * _TIMES + _MORE_BYTES
    try:
        text: bytes = request.read(most + 1)
    except (UnreadablePostError, RequestDataTooBig) as error:
        raise refused(
            400, "malformed", title="Cut off", detail="The body did not arrive as it was announced."
        ) from error
    if len(text) > most:
        raise refused(413, "too-large", title="Too large", detail=f"A body may have {most:,} bytes.")
    return text


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode(), parse_constant=_no_constant, parse_float=_finite)
    except UnicodeDecodeError:
        raise refused(400, "malformed", title="Not JSON", detail="The body is not UTF-8.") from None
    except RecursionError:
        raise refused(400, "malformed", title="Not JSON", detail="The body is nested too deep.") from None
    except ValueError as error:
        raise refused(400, "malformed", title="Not JSON", detail=f"The body is no JSON: {error!s:.200}.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.30} is more than a number can be")
    return value
