"""One page: what was found."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.html import format_html, format_html_join

from .words import most_frequent


def front(request: HttpRequest) -> HttpResponse:
    """The most frequent words of all files."""
    rows = format_html_join("", "<tr><td>{}<td>{}", most_frequent(50))
    return HttpResponse(format_html("<!doctype html><title>Index</title><h1>Most frequent words</h1><table>{}", rows))


urlpatterns = [path("", front)]
