"""A saga's timeline as SVG: shapes with attributes alone, which every policy of a page lets pass.

Names stand in a picture of their own, so that they stay where they are while the bars beside them are scrolled.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterator

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from taskyard.admin.pages.shown import SIGNS, shortened
from taskyard.admin.words import moment
from taskyard.monitoring.words import duration
from taskyard.sagas.reading.queries import SagaReading, StepReading
from taskyard.sagas.reading.timeline import Bar, BarKind, Timeline
from taskyard.sagas.states import StepState

#: Heights in pixels: of the line with the times, of a step, of a line of words between steps.
_HEAD, _ROW, _WORDS = 24, 26, 20
_LONGEST_NAME = 20
#: Where the first moment and the last one lie, in hundredths of the width; and the least that a bar takes of it.
_LEFT, _ROOM, _LEAST = 0.5, 97.0, 0.6
#: Each with its class, its height, what fills it, and what it is called.
_KINDS = {
    BarKind.FORWARD: ("forward", 14, "", "ran"),
    BarKind.WAITING: ("waiting", 8, "url(#taskyard-hatch)", "waited"),
    BarKind.COMPENSATION: ("compensation", 14, "url(#taskyard-back)", "was undone"),
    BarKind.LOST_ATTEMPT: ("lost", 14, "", "an attempt failed or was lost, another one followed"),
}
_FAILED = frozenset({"failed", "compensation_failed"})
#: Without scripts and styles: the classes take their colours from the theme.
_PATTERNS = mark_safe(
    '<defs><pattern id="taskyard-hatch" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<path class="taskyard-hatch" d="M-1 1L1 -1M0 6L6 0M5 7L7 5"></path></pattern>'
    '<pattern id="taskyard-back" width="8" height="14" patternUnits="userSpaceOnUse">'
    '<path class="taskyard-back" d="M6 3L2 7L6 11"></path></pattern></defs>'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Drawing:
    """What a page shows of a timeline."""

    names: SafeString
    chart: SafeString
    legend: SafeString


@dataclasses.dataclass(frozen=True, slots=True)
class _Places:
    """Where everything lies from top to bottom."""

    #: The upper edge of each step.
    steps: tuple[tuple[StepReading, int], ...]
    #: Of each group its name, its upper edge and its height.
    groups: tuple[tuple[str, int, int], ...]
    #: Of the line behind the pivot, if there is one with steps behind it.
    pivot: int | None
    height: int


def draw(saga: SagaReading) -> Drawing:
    """The timeline of a saga."""
    timeline, places = saga.timeline, _places(saga.steps)
    return Drawing(_names(places), _chart(saga, timeline, places=places), _legend(saga, timeline))


def _places(steps: tuple[StepReading, ...]) -> _Places:
    found, groups, pivot, y = [], [], None, _HEAD
    for group, members in itertools.groupby(steps, key=lambda step: step.group):
        top = y
        y += _WORDS if group else 0
        for step in members:
            found.append((step, y))
            y += _ROW
            if step.is_pivot and step is not steps[-1]:
                pivot = y
                y += _WORDS
        if group:
            groups.append((group, top, y - top))
    return _Places(tuple(found), tuple(groups), pivot, y + 4)


# -- names -------------------------------------------------------------------------------------------------------------


def _names(places: _Places) -> SafeString:
    longest = max((min(len(step.name), _LONGEST_NAME) for step, _ in places.steps), default=0)
    width = 34 + 7 * max(longest, 6)
    parts = [_bands(places), format_html_join("", '<g class="taskyard-is-{}">{}</g>', _labels(places))]
    parts += [
        format_html('<text class="taskyard-faint" x="6" y="{}">{}<title>{}</title></text>', top + 14,
                    shortened(f"at once: {name}", _LONGEST_NAME + 2), name)
        for name, top, _ in places.groups
    ]  # fmt: skip
    return _svg("names", places.height, mark_safe("".join(parts)), width=width, more=mark_safe(' aria-hidden="true"'))


def _labels(places: _Places) -> Iterator[tuple[str, SafeString]]:
    for step, y in places.steps:
        sign = " ◆" if step.is_pivot else ""
        name = f"{shortened(step.name, _LONGEST_NAME - len(sign))}{sign}"
        yield step.state, format_html(
            '<text x="{0}" y="{1}">{2}</text><text class="taskyard-name" x="{3}" y="{1}">{4}'
            "<title>{5}, {6}{7}</title></text>",
            8, y + 17, SIGNS.get(step.state, "·"), 26, name, step.name, step.state.replace("_", " "),
            ", the pivot" if sign else "",
        )  # fmt: skip


def _bands(places: _Places) -> SafeString:
    bands = format_html_join(
        "", '<rect class="taskyard-band" x="0" y="{}" width="100%" height="{}"></rect>',
        ((top, height) for _, top, height in places.groups),
    )  # fmt: skip
    lines = format_html_join(
        "", '<line class="taskyard-row" x1="0" y1="{0}" x2="100%" y2="{0}"></line>',
        ((y + _ROW,) for _, y in places.steps),
    )  # fmt: skip
    pivot = _pivot_line(places.pivot) if places.pivot is not None else ""
    return format_html("{}{}{}", bands, lines, pivot)


def _pivot_line(y: int) -> SafeString:
    return format_html('<line class="taskyard-pivot" x1="0" y1="{0}" x2="100%" y2="{0}"></line>', y + _WORDS / 2)


# -- bars --------------------------------------------------------------------------------------------------------------


def _chart(saga: SagaReading, timeline: Timeline, *, places: _Places) -> SafeString:
    steps = {step.name: (step, y) for step, y in places.steps}
    parts = [
        format_html('<desc id="taskyard-timeline-text">{}</desc>', _told(timeline)), _PATTERNS, _bands(places),
        _axis(timeline, places.height, is_going=saga.finished_at is None),
    ]  # fmt: skip
    for lane in timeline.lanes:
        # What is short must not be hidden by the waiting beside it.
        for bar in sorted(lane.bars, key=lambda bar: bar.kind is not BarKind.WAITING):
            parts.append(_bar(timeline, bar, step=steps[lane.step][0], y=steps[lane.step][1]))
    parts += [said for step, y in places.steps if (said := _instead(step, y))]
    if places.pivot is not None:
        parts.append(format_html('<text class="taskyard-faint taskyard-on" x="{}%" y="{}" text-anchor="end">{}</text>',
                                 _LEFT + _ROOM, places.pivot + 14, "◆ no way back from here on"))  # fmt: skip
    says = mark_safe(' role="img" aria-label="Timeline" aria-describedby="taskyard-timeline-text"')
    return _svg("chart", places.height, mark_safe("".join(parts)), width="100%", more=says)


def _svg(kind: str, height: int, inner: SafeString, *, width: int | str, more: SafeString) -> SafeString:
    return format_html('<svg class="taskyard-{}" width="{}" height="{}"{}>{}</svg>', kind, width, height, more, inner)


def _axis(timeline: Timeline, height: int, *, is_going: bool) -> SafeString:
    quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
    ticks = format_html_join(
        "", '<line class="taskyard-tick" x1="{0}%" y1="18" x2="{0}%" y2="{1}"></line>'
        '<text class="taskyard-faint" x="{0}%" y="13" text-anchor="{2}">{3}</text>',
        (
            (_at(place), height, "start" if not place else "end" if place == 1 else "middle",
             _tick(timeline, place, is_going=is_going))
            for place in quarters
        ),
    )  # fmt: skip
    now = format_html('<line class="taskyard-now" x1="{0}%" y1="18" x2="{0}%" y2="{1}"></line>', _at(1), height)
    return format_html("{}{}", ticks, now if is_going else "")


def _tick(timeline: Timeline, place: float, *, is_going: bool) -> str:
    if not place:
        return "0"
    said = duration(_moment_at(timeline, place) - timeline.start)
    return f"now, {said}" if place == 1 and is_going else said


def _moment_at(timeline: Timeline, place: float) -> dt.datetime:
    for before, after in itertools.pairwise(timeline.scale):
        if place <= after[1]:
            room = after[1] - before[1]
            return before[0] + (after[0] - before[0]) * ((place - before[1]) / room if room else 1)
    return timeline.end


def _bar(timeline: Timeline, bar: Bar, *, step: StepReading, y: int) -> SafeString:
    kind, height, fill, _ = _KINDS[bar.kind]
    is_failed = bar.ended in _FAILED
    width = round(max((timeline.place(bar.end) - timeline.place(bar.start)) * _ROOM, _LEAST), 3)
    x = min(_at(timeline.place(bar.start)), _LEFT + _ROOM - _LEAST)
    top = y + (_ROW - height) // 2
    shape = format_html(
        '<rect class="taskyard-bar-{}" x="{}%" y="{}" width="{}%" height="{}"></rect>',
        "failed" if is_failed and bar.kind is BarKind.FORWARD else kind, x, top, width, height,
    )  # fmt: skip
    if bar.kind is BarKind.LOST_ATTEMPT and step.compensation_started_at and bar.start >= step.compensation_started_at:
        fill = _KINDS[BarKind.COMPENSATION][2]
    if fill:
        shape += _filled(fill, top, x=f"{x}%", width=f"{width}%", height=height)
    if bar.kind is BarKind.LOST_ATTEMPT:
        shape += _mark("×", "middle", x=x + width / 2, y=y, dx=0)
    elif is_failed:
        shape += _mark("✗", "start", x=x + width, y=y, dx=3)
    elif bar.end is None:
        shape += _mark("›", "start", x=x + width, y=y, dx=2)
    return format_html("<g>{}<title>{}: {}, from {}</title></g>", shape, step.name, _said(timeline, bar),
                       moment(bar.start))  # fmt: skip


def _filled(fill: str, top: int, *, x: str, width: str, height: int) -> SafeString:
    # A pattern begins where its shape's own room does: so it lies the same in each of them.
    return format_html(
        '<g transform="translate(0 {})"><rect fill="{}" x="{}" y="0" width="{}" height="{}"></rect></g>',
        top, fill, x, width, height,
    )  # fmt: skip


def _mark(sign: str, anchor: str, *, x: float, y: int, dx: int) -> SafeString:
    kind = {"›": "on", "×": "lost"}.get(sign, "wrong")
    return format_html('<text class="taskyard-mark-{}" x="{}%" y="{}" dx="{}" text-anchor="{}">{}</text>', kind, x,
                       y + 18, dx, anchor, sign)  # fmt: skip


def _instead(step: StepReading, y: int) -> SafeString | None:
    """Words where there is no bar."""
    said = "taken over" if step.is_taken_over else step.state if step.state == StepState.SKIPPED else ""
    if not said or (step.started_at is not None and not step.is_taken_over):
        return None
    return format_html('<text class="taskyard-faint" x="{}%" y="{}">{}</text>', _LEFT + 0.5, y + 17, said)


def _at(place: float) -> float:
    return round(_LEFT + place * _ROOM, 3)


# -- words -------------------------------------------------------------------------------------------------------------


def _told(timeline: Timeline) -> str:
    """The same for whoever does not see it."""
    return " ".join(
        f"{lane.step}: {'; '.join(_said(timeline, bar) for bar in lane.bars) or lane.state}." for lane in timeline.lanes
    )


def _said(timeline: Timeline, bar: Bar) -> str:
    word = _KINDS[bar.kind][3] if bar.kind is not BarKind.LOST_ATTEMPT else "an attempt of"
    if bar.end is None:
        return f"{word} {duration(timeline.end - bar.start)} so far"
    ended = f", {bar.ended.replace('_', ' ')}" if bar.ended else ""
    return f"{word} {duration(bar.end - bar.start)}{ended}"


def _legend(saga: SagaReading, timeline: Timeline) -> SafeString:
    bars = [bar for lane in timeline.lanes for bar in lane.bars]
    shown = {bar.kind for bar in bars}
    items = [(_swatch(kind), says) for kind, (_, _, _, says) in _KINDS.items() if kind in shown]
    if any(bar.ended in _FAILED for bar in bars):
        items.append((format_html('<span class="taskyard-is-failed">{}</span>', "✗"), "gave up"))
    if any(bar.end is None for bar in bars):
        items.append((SafeString("›"), "goes on"))
    if any(step.is_pivot for step in saga.steps):
        items.append((SafeString("◆"), "the pivot"))
    if timeline.is_squeezed:
        items.append((SafeString("≈"), "long waits are drawn short"))
    return format_html_join("", '<li><span aria-hidden="true">{}</span> {}</li>', items)


def _swatch(kind: BarKind) -> SafeString:
    name, height, fill, _ = _KINDS[kind]
    inner = format_html('<rect class="taskyard-bar-{}" x="0" y="{}" width="24" height="{}"></rect>', name,
                        (14 - height) // 2, height)  # fmt: skip
    if fill:
        inner += _filled(fill, (14 - height) // 2, x="0", width="24", height=height)
    if kind is BarKind.LOST_ATTEMPT:
        inner += format_html('<text class="taskyard-mark-lost" x="12" y="12" text-anchor="middle">{}</text>', "×")
    return format_html('<svg width="24" height="14">{}</svg>', inner)
