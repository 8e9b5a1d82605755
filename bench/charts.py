"""Pictures of results: SVG written by hand, because bars and lines are all there is to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 920
LABEL = 390
RIGHT = 140
BAR = 18
GAP = 8
TOP = 48
OURS, THEIRS, SECOND, INK, GRID = "#0f766e", "#94a3b8", "#b45309", "#1e293b", "#e2e8f0"


@dataclass(frozen=True)
class Bar:
    label: str
    middle: float
    low: float
    high: float
    is_ours: bool


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """A bar per row: its median, a thin line for its range."""
    room = WIDTH - LABEL - RIGHT
    most = max((row.high for row in rows), default=1) or 1
    parts = []
    for number, row in enumerate(rows):
        y = TOP + number * (BAR + GAP)
        colour = OURS if row.is_ours else THEIRS
        middle, low, high = (LABEL + value / most * room for value in (row.middle, row.low, row.high))
        parts += [
            _text(LABEL - 8, y + BAR - 5, row.label, "end"),
            f'<rect x="{LABEL}" y="{y}" width="{max(1, middle - LABEL):.1f}" height="{BAR}" fill="{colour}" rx="2"/>',
            f'<path d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke="{INK}" stroke-width="1.5"/>',
            _text(max(middle, high) + 6, y + BAR - 5, f"{_number(row.middle)} {unit}", "start"),
        ]
    return _svg(title, TOP + len(rows) * (BAR + GAP) + 12, parts)


def lines(title: str, x_unit: str, y_unit: str, series: dict[str, Sequence[tuple[float, float]]]) -> str:
    """A line per series over a common x, from zero up."""
    height, left, bottom = 336, 70, 276
    points = [point for values in series.values() for point in values]
    most_x = max((x for x, _ in points), default=1) or 1
    most_y = max((y for _, y in points), default=1) * 1.08 or 1
    room = WIDTH - left - 30
    parts = []
    for step in range(5):
        y = bottom - step / 4 * (bottom - TOP)
        parts.append(f'<path d="M{left} {y:.1f}H{WIDTH - 30}" stroke="{GRID}"/>')
        parts.append(_text(left - 8, y + 4, _number(most_y * step / 4), "end"))
        x = left + step / 4 * room
        parts.append(_text(x, bottom + 18, _number(most_x * step / 4), "middle"))
    for number, (name, values) in enumerate(series.items()):
        colour = (OURS, SECOND, THEIRS)[number % 3]
        path = " ".join(f"{left + x / most_x * room:.1f},{bottom - y / most_y * (bottom - TOP):.1f}" for x, y in values)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<rect x="{left + 120 * number}" y="{height - 20}" width="12" height="4" fill="{colour}"/>')
        parts.append(_text(left + 120 * number + 18, height - 14, name, "start"))
    parts.append(_text(WIDTH - 30, height - 14, f"{y_unit} over {x_unit}", "end"))
    return _svg(title, height, parts)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
        f' font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="{escape(title)}">'
    )
    ground = f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>'
    heading = f'<text x="16" y="28" font-size="16" font-weight="600" fill="{INK}">{escape(title)}</text>'
    return "\n".join([head, ground, heading, *parts, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
