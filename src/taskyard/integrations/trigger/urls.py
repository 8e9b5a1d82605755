"""Where the trigger is found: ``path("schedules/", include("taskyard.integrations.trigger.urls"))``.

That serves every schedule under its name. At the root of the project, ``*declared_paths()`` serves those that declare
an ``http_path`` there as well, exactly as declared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from django.db import transaction
from django.urls import URLPattern, path, re_path

from taskyard.integrations.trigger.view import trigger_view
from taskyard.schedules.sources.code import declared


def _outside_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """With ATOMIC_REQUESTS a job would exist only after the answer that names it."""
    for alias in settings.DATABASES:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


_view = _outside_transactions(trigger_view)


def declared_paths() -> list[URLPattern]:
    """A pattern for each ``http_path`` of the code, for the root of the project's URLs."""
    return [
        re_path(rf"^{re.escape(unquote(one.http_path.removeprefix('/')))}\Z", _view, {"schedule": one.name})
        for one in declared().values()
        if one.http_path
    ]


app_name = "taskyard-trigger"
urlpatterns = [path("<path:schedule>", _view, name="trigger")]
