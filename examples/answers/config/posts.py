"""Views that do something."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import NoReverseMatch
from django.views.decorators.http import require_http_methods

View = Callable[..., HttpResponse]


def posts(page: str) -> Callable[[View], View]:
    """A POST does it. Who comes to the address by GET (a page with a refusal is reloaded) is sent to that page.

    If the page has an address for each row, it is that of the same row.
    """

    def decorate(view: View) -> View:
        @require_http_methods(["GET", "POST"])
        @wraps(view)
        def answer(request: HttpRequest, **found: Any) -> HttpResponse:
            if request.method == "POST":
                return view(request, **found)
            try:
                return redirect(page, **found)
            except NoReverseMatch:
                return redirect(page)

        return answer

    return decorate
