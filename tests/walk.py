"""Every address that the URL configuration knows, asked as somebody, and what it answered.

Nothing here names a page: what is added to the URLs is asked from then on, about rows that it may be about, with the
links on it, and as a form or document that is sent. A page that shows nothing to anybody is told by :func:`unanswered`.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern, get_resolver, is_valid_path, resolve
from django.utils.regex_helper import normalize

from taskyard.models import Batch, FailureGroup, Job, QueueSetting, Saga, Schedule, Worker

#: Rows that an address is about, by a word in it, where that is no name of a model of ours.
_ABOUT: dict[str, type[Any]] = {
    "jobs": Job, "batches": Batch, "failures": FailureGroup, "schedules": Schedule, "workers": Worker,
    "queues": QueueSetting, "sagas": Saga, "follow": Job, "celery-progress": Job,
}  # fmt: skip
#: What a document says that is sent, by the name of the field; fields that are not here are left out.
_SENT: dict[str, Any] = {
    "verb": "retry", "filter": {"state": ["failed"]}, "text": "seen", "until": "2999-01-01T00:00:00Z",
    "task": "app.nothing", "name": "made", "recurrence": {"kind": "every", "seconds": 3600}, "reason": "because",
    "ids": [],
}  # fmt: skip
#: 405: it cannot be looked at. 503: that health is bad is an answer.
_ANSWERED = {200, 204, 302, 405, 503}
#: Files, another order of the same rows, the way back to a list, and Django's own pages about users.
_NOT_FOLLOWED = re.compile(r"^/static/|[?]o=|_changelist_filters=|^/admin/auth/|/logout/")
#: What the first of a stream says: all of it, but the news to come.
_CHUNKS = 1


@dataclass(frozen=True)
class Route:
    """One pattern of the URL configuration."""

    #: With ``%(name)s`` for each parameter.
    form: str
    parameters: tuple[str, ...]
    name: str
    view: Any

    @property
    def is_ours(self) -> bool:
        """Whether somebody should be shown something there; what is Django's own is asked all the same."""
        module = getattr(self.view, "__module__", "")
        is_page = self.name.startswith("taskyard_") and not self.name.endswith(("_add", "_delete"))
        is_closed = getattr(getattr(self.view, "resource", None), "__name__", "") == "no_such_address"
        return (is_page or not module.startswith("django.")) and not is_closed

    @property
    def body(self) -> Any:
        """The document that it takes: the API's declarations say it."""
        routes = getattr(getattr(self.view, "resource", None), "routes", {})
        return next((each.body for each in routes.values() if each.body is not None), None)

    @property
    def takes_documents(self) -> bool:
        return hasattr(self.view, "resource")

    def addresses(self, most: int) -> list[str]:
        """One for each row that it may be about, up to so many."""
        values = [_keys(self.form, most)] * len(self.parameters)
        return [
            "/" + self.form % dict(zip(self.parameters, chosen, strict=True)) for chosen in itertools.product(*values)
        ]


@dataclass(frozen=True)
class Seen:
    """One answer."""

    address: str
    status: int
    text: str
    method: str = "GET"


@dataclass
class Walk:
    """What one caller was answered."""

    client: Client
    #: The beginning of what is asked.
    under: str = ""
    #: Rows of a kind that it is asked about.
    most: int = 60
    seen: list[Seen] = field(default_factory=list)

    def go(self) -> "Walk":
        """Look everywhere, then do everything to a row or two, each taken back."""
        self.client.raise_request_exception = False
        # Else streams say that a process with a single thread serves none.
        self.client.defaults["wsgi.multithread"] = True
        routes = [each for each in all_routes() if each.form.startswith(self.under)]
        asked: set[str] = set()
        for route in routes:
            for address in route.addresses(self.most):
                asked.add(address)
                status = self._look(address)
                if status in (400, 422):
                    # It wants to know about which.
                    for key in _keys("jobs", self.most):
                        self._look(f"{address}?job={key}")
                if status in (401, 403, 405):
                    # So it is with the others.
                    break
        self._follow_links(asked)
        for route in routes:
            for address in route.addresses(2)[:2]:
                self._send(address, route)
        self._act()
        return self

    def _follow_links(self, asked: set[str]) -> None:
        # The list grows while it is gone through.
        for page in self.seen:
            for link in _links(page.text) if page.status == 200 and "<html" in page.text else ():
                to = page.address.partition("?")[0] + link if link.startswith("?") else link.partition("#")[0]
                # Filters combine without end; one by one they have said it all.
                if to not in asked and self._is_known(to) and "&" not in to:
                    asked.add(to)
                    self._look(to)

    def _is_known(self, address: str) -> bool:
        return address.startswith("/" + self.under) and is_valid_path(address.partition("?")[0])

    def _look(self, address: str) -> int:
        return self._keep(lambda: self.client.get(address), address)

    def _send(self, address: str, route: Route) -> None:
        if route.name == "logout":
            return
        said: Any = {"said": "yes", "reason": "because", "text": "seen", "post": "yes"}
        if route.takes_documents:
            fields = route.body.fields if route.body is not None else {}
            said = {name: value for name, value in {**_SENT, "ids": _keys("jobs", 5)}.items() if name in fields}
        kind = {"content_type": "application/json"} if route.takes_documents else {}
        self._keep(lambda: self.client.post(address, said, follow=True, **kind), address, "POST")

    def _act(self) -> None:
        """The actions of lists, which ask before they are done."""
        for model, page in admin.site._registry.items():
            at = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            chosen = [str(key) for key in model._base_manager.values_list("pk", flat=True)[:20]]
            for name in page.actions or () if at.startswith("/" + self.under) else ():
                sent = {"action": getattr(name, "__name__", name), ACTION_CHECKBOX_NAME: chosen}
                self._keep(lambda sent=sent, at=at: self.client.post(at, sent, follow=True), at, "POST")

    def _keep(self, ask: Callable[[], Any], address: str, method: str = "GET") -> int:
        with transaction.atomic():
            response = ask()
            transaction.set_rollback(True)
        text = "\n".join([*(f"{name}: {value}" for name, value in response.headers.items()), _text(response)])
        status: int = response.status_code
        self.seen.append(Seen(address, status, text, method))
        return status


def all_routes() -> list[Route]:
    """All there are."""
    return [each for each in _routes(get_resolver(), "") if not each.form.startswith("admin/auth/")]


def unanswered(seen: Iterable[Seen]) -> list[str]:
    """Addresses of ours at which nobody was shown anything, though they can be looked at."""
    ours = [each for each in all_routes() if each.is_ours]
    statuses: dict[Any, set[int]] = {each.view: set() for each in ours}
    for each in seen:
        view = resolve(each.address.partition("?")[0]).func
        if each.method == "GET" and view in statuses:
            statuses[view].add(each.status)
    return [f"{each.form}: {sorted(statuses[each.view])}" for each in ours if not statuses[each.view] & _ANSWERED]


def _routes(resolver: Any, before: str) -> Iterator[Route]:
    for each in resolver.url_patterns:
        regex = before + each.pattern.regex.pattern.removeprefix("^")
        if not isinstance(each, URLPattern):
            yield from _routes(each, regex)
            continue
        for form, parameters in normalize(regex):
            yield Route(form, tuple(parameters), each.name or "", each.callback)


def _keys(form: str, most: int) -> list[str]:
    """Keys of the rows that an address is about; where none of its words says it, of all rows there are."""
    ours = {model._meta.model_name: model for model in apps.get_app_config("taskyard").get_models()}
    known: dict[str, Any] = {**ours, **_ABOUT}
    about = [known[word] for word in form.split("/") if word in known]
    models = about[:1] or list(ours.values())
    keys = [quote(str(key)) for model in models for key in model._base_manager.values_list("pk", flat=True)[:most]]
    return keys if about else keys[:5]


def _text(response: Any) -> str:
    if not response.streaming:
        return str(response.content.decode())
    chunks = [chunk.decode() for chunk in itertools.islice(response.streaming_content, _CHUNKS)]
    # As Django's client does it at the end of a stream. Closing the response would close the test's connection.
    response._iterator.close()
    return "".join(chunks)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.found += [value for name, value in attrs if value and value.startswith(("/", "?"))]
        job = said.get("data-job")
        if job is not None:
            # What the script of a page asks with.
            query = QueryDict(mutable=True)
            query["job"] = job
            self.found += [f"{said[name]}?{query.urlencode()}" for name in ("data-look-at", "data-events-at")]


def _links(text: str) -> list[str]:
    page = _Links()
    page.feed(text)
    return [each for each in page.found if not _NOT_FOLLOWED.search(each)]
