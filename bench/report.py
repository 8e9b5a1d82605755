"""RESULTS.md and its charts, made of results.json alone."""

import tomllib
from pathlib import Path
from statistics import median
from typing import Any

from bench import charts
from bench.contestants import CONTESTANTS
from bench.figures import FIGURES, Figure
from bench.measurements import MEASUREMENTS

HERE = Path(__file__).resolve().parent

HEAD = """\
# Results

Made by `make bench` from [results.json](results.json); how it is measured, and what it does not say, is in
[docs/benchmarks.md](../docs/benchmarks.md). Each number is the median of the rounds, with the range in brackets where
there was more than one. Ratios are taken within each round. Do not compare numbers of different machines, or of runs of
different days.
"""


def spread(values: list[float]) -> str:
    """The median, and the range where there is one."""
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(folder: Path, results: dict[str, Any]) -> None:
    """RESULTS.md and charts/*.svg in the folder; charts that no longer belong there go."""
    (folder / "charts").mkdir(parents=True, exist_ok=True)
    for stale in (folder / "charts").glob("*.svg"):
        stale.unlink()
    drawn = {name: draw(name, results[name]) for name in MEASUREMENTS if name in results}
    for name, picture in drawn.items():
        if picture:
            (folder / "charts" / f"{name}.svg").write_text(picture, encoding="utf-8")
    sections = [section(name, results[name], has_chart=bool(drawn[name])) for name in drawn]
    (folder / "RESULTS.md").write_text("\n".join([HEAD, figures(results), *sections, contestants()]), encoding="utf-8")


def notes() -> dict[str, str]:
    """What stands in the way of an aim, by the name of its figure."""
    return tomllib.loads((HERE / "notes.toml").read_text(encoding="utf-8"))


def figures(results: dict[str, Any]) -> str:
    """The table of what must hold, with a verdict on each row."""
    said = notes()
    lines = ["## Figures", "", "| figure | measured | must | aim | reached | |", "|---|---|---|---|---|---|"]
    for figure in FIGURES:
        values = figure.values(results)
        measured = f"{spread(values)} {figure.unit}" if values else ""
        bars = " | ".join(bar(figure, value) for value in (figure.must, figure.aim))
        note = said.get(figure.name, "")
        lines.append(f"| {figure.says} | {measured} | {bars} | {figure.verdict(results)} | {note} |")
    return "\n".join([*lines, ""])


def contestants() -> str:
    """How each of them runs."""
    lines = ["## Contestants", "", "| | its two worker processes |", "|---|---|"]
    return "\n".join([*lines, *(f"| {one.title} | {one.shape} |" for one in CONTESTANTS.values()), ""])


def bar(figure: Figure, value: float) -> str:
    return f"{'≤' if figure.is_limit else '≥'} {value:,g} {figure.unit}"


def section(name: str, found: dict[str, Any], *, has_chart: bool) -> str:
    measurement = MEASUREMENTS[name]
    lines = [f"## {measurement.title}", "", measurement.method, "", *table(name, found), ""]
    for who, why in found["left_out"].items():
        lines += [f"Left out: {CONTESTANTS[who].title} ({why}).", ""]
    for who, why in found["failed"].items():
        lines += [f"**Failed: {CONTESTANTS[who].title}** ({why.splitlines()[0]}).", ""]
    lines += surplus(found)
    if has_chart:
        lines += [f"![{measurement.title}](charts/{name}.svg)", ""]
    return "\n".join([*lines, *circumstances(found), ""])


def table(name: str, found: dict[str, Any]) -> list[str]:
    columns = MEASUREMENTS[name].columns
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" + "|---:" * len(columns) + "|"]
    for who in found["contestants"]:
        taken = [one[who] for one in found["rounds"] if who in one]
        if taken:
            cells = [spread([one[key] for one in taken]) for key in columns]
            lines.append(f"| {CONTESTANTS[who].title} | " + " | ".join(cells) + " |")
    return lines


def surplus(found: dict[str, Any]) -> list[str]:
    """Said aloud when a contestant wrote more bytes than it had jobs: something ran twice."""
    lines = []
    for who in found["contestants"]:
        more = sum(one[who].get("surplus", 0) for one in found["rounds"] if who in one)
        if more:
            lines += [f"**{CONTESTANTS[who].title} ran {more} jobs more than it was given.**", ""]
    return lines


def circumstances(found: dict[str, Any]) -> list[str]:
    machine, options = found["machine"], found["options"]
    versions = ", ".join(f"{name} {said}" for name, said in found["versions"].items())
    shown = ", ".join(f"{key} {options[key]:,g}" for key in MEASUREMENTS[found["name"]].options)
    rounds = len(found["rounds"])
    return [
        f"<sub>{found['when']}, commit {found['commit']}, {rounds} round{'s' * (rounds > 1)}: `{found['command']}`"
        f" ({shown}). {machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['system']},"
        f" load {machine['load_before']} before the start. {versions}.</sub>"
    ]


def draw(name: str, found: dict[str, Any]) -> str:
    """A picture of the measurement's first column; of sizes over time for the long run."""
    measurement = MEASUREMENTS[name]
    if measurement.once:
        return draw_series(measurement.title, found)
    key, unit = measurement.chart or next(iter(measurement.columns.items()))
    rows = []
    for who in found["contestants"]:
        values = [one[who][key] for one in found["rounds"] if who in one]
        if values:
            ours = who.startswith("taskyard")
            title = CONTESTANTS[who].title.replace("`", "")
            rows.append(charts.Bar(title, median(values), min(values), max(values), ours))
    return charts.bars(measurement.title, unit, rows) if len(rows) > 1 else ""


def draw_series(title: str, found: dict[str, Any]) -> str:
    rounds = [one for taken in found["rounds"] for one in taken.values()]
    if not rounds:
        return ""
    lines = {
        heading: [(point["seconds"] / 60, point[key]) for point in rounds[0]["series"]]
        for heading, key in (("table", "table_mb"), ("indexes", "index_mb"))
    }
    return charts.lines(title, "minutes", "MB", lines)
