"""How values look on a page: a state with its sign, a moment, a bar, a link to a row of the project's own."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.apps import apps
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from taskyard.admin.words import distance, moment

#: Beside the word, so that nobody has to tell by colour.
SIGNS = {
    "pending": "○", "queued": "◐", "running": "▶", "waiting": "…", "retrying": "↻", "succeeded": "✓", "failed": "✗",
    "cancelled": "–", "alive": "✓", "stopping": "◐", "silent": "✗", "paused": "‖", "open": "✗", "snoozed": "◐",
    "resolved": "✓", "completed": "✓", "stale": "✗", "skipped": "–",
    "ready": "✓", "not ready": "◐", "unknown": "✗", "good": "✓", "expired": "–", "revoked": "✗",
    "needs_attention": "!", "compensating": "↩", "compensated": "↩", "compensation_queued": "◐",
    "compensation_retrying": "↻", "compensation_failed": "✗", "compensation_skipped": "–",
}  # fmt: skip


def badge(state: str, more: str = "") -> SafeString:
    """A state as a word with its sign."""
    return format_html(
        '<span class="taskyard-state taskyard-is-{}"><span aria-hidden="true">{}</span> {}{}</span>',
        state.replace(" ", "-"), SIGNS.get(state, "·"), state.replace("_", " "), f", {more}" if more else "",
    )  # fmt: skip


def named(text: str, key: object) -> SafeString:
    """What it is called, and its key below."""
    return format_html('{} <span class="taskyard-id">{}</span>', text, key)


def ago(at: dt.datetime | None, now: dt.datetime | None = None) -> SafeString | str:
    """How far off a moment is; the moment itself when pointed at."""
    if at is None:
        return "–"
    said = distance(at, now or timezone.now())
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), moment(at), said)


def exact(at: dt.datetime | None) -> SafeString | str:
    """A moment, and how far off it is."""
    if at is None:
        return "–"
    said = distance(at, timezone.now())
    return format_html('<time datetime="{}">{}</time> <span class="taskyard-quiet">({})</span>', at.isoformat(),
                       moment(at), said)  # fmt: skip


def shortened(text: str, most: int) -> str:
    """The beginning of a long text."""
    return text if len(text) <= most else f"{text[:most]}…"


def bar(current: float | None, total: float | None, message: str = "") -> SafeString | str:
    """How far something is; without a total as a number."""
    if current is None:
        return message
    if not total:
        return f"{current:,g} {message}".strip()
    percent = max(0.0, min(100.0, 100.0 * current / total))
    label = f"{current:,g} of {total:,g}"
    return format_html(
        '<progress class="taskyard-small-bar" max="100" value="{}" aria-label="{}"></progress> '
        '<span title="{}">{} %</span>', f"{percent:.1f}", label, f"{label} {message}".strip(), f"{percent:.0f}",
    )  # fmt: skip


def admin_link(at: str, text: str) -> SafeString | str:
    """A link; without an address its text alone."""
    return format_html('<a href="{}">{}</a>', at, text) if at else text


def page_of_subject(site: Any, request: Any, label: str, key: str) -> str:
    """The admin's page of a row that jobs are about, where it has one that whoever asks may see; else empty."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return ""
    if not site.is_registered(model) or not site.get_model_admin(model).has_view_permission(request):
        return ""
    try:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return reverse(name, args=[key], current_app=site.name)
    except NoReverseMatch:
        return ""


def sparkline(counts: tuple[int, ...]) -> SafeString | str:
    """Counts as bars, the last one now: shapes with attributes alone, which every policy of a page lets pass."""
    most = max(counts, default=0)
    if not most:
        return ""
    height, step = 20, 5
    bars = [
        (place * step, height - (tall := max(1, round(count / most * height))), step - 1, tall)
        for place, count in enumerate(counts)
        if count
    ]
    shapes = format_html_join("", '<rect x="{}" y="{}" width="{}" height="{}"></rect>', bars)
    label = f"In each of the last {len(counts)} hours: {', '.join(map(str, counts))}"
    return format_html(
        '<svg class="taskyard-spark" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        "<title>{}</title>{}</svg>", label, len(counts) * step, height, len(counts) * step, height, label, shapes,
    )  # fmt: skip
