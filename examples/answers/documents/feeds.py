"""Sample sources, served by this project itself: Taskyard's own documentation, a section at a time."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.text import slugify

#: Name of a feed -> the files it serves.
FEEDS = {"manual": "*.md", "decisions": "decisions/*.md", "moving": "moving/*.md"}
PER_PAGE = 20
_HEADING = re.compile(r"^#{1,3} (.+)$", re.MULTILINE)
#: Code, comments and tables.
_NO_PROSE = re.compile(r"^```.*?^```\s*$|<!--.*?-->|^\|[^\n]*$", re.MULTILINE | re.DOTALL)


@login_not_required
def feed(request: HttpRequest, name: str) -> JsonResponse:
    """A page of a feed."""
    if name not in FEEDS:
        raise Http404(f"There is no feed {name!r}.")
    page = Paginator(sections(Path(settings.TEXTS), FEEDS[name]), PER_PAGE).get_page(request.GET.get("page"))
    return JsonResponse(
        {
            "documents": list(page),
            "total": page.paginator.count,
            "next": page.next_page_number() if page.has_next() else None,
        }
    )


@lru_cache
def sections(folder: Path, pattern: str) -> list[dict[str, str]]:
    """Each heading of these files with the prose that stands under it."""
    return [section for path in sorted(folder.glob(pattern)) for section in _sections_of(path)]


def _sections_of(path: Path) -> list[dict[str, str]]:
    _, *parts = _HEADING.split(_NO_PROSE.sub("", path.read_text()))
    found: dict[str, dict[str, str]] = {}
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        heading, text = heading.strip(), text.strip()
        if len(text) > 80:
            key = f"{path.stem}/{slugify(heading)}"
            found.setdefault(key, {"key": key, "title": f"{heading} ({path.stem})", "text": text})
    return list(found.values())
