"""A page of a project that shows how far a job is."""

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, engines

PAGE = """<!doctype html>
<html lang="en"><title>Import</title>{% load taskyard %}
<h1 id="here">Import</h1>
{% taskyard_progress job label="Import" family=family %}
</html>"""


def follow(request: HttpRequest, job: str) -> HttpResponse:
    template = engines["django"].from_string(PAGE).template
    return HttpResponse(template.render(RequestContext(request, {"job": job, "family": "family" in request.GET})))
