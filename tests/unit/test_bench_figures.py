"""What the benchmark's results say about its figures, and that a report is made of the results alone."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import charts, report, results
from bench.contestants import CONTESTANTS
from bench.figures import FIGURES, Figure
from bench.measurements import MEASUREMENTS

RATIO = Figure("a ratio", "drain", "taskyard-redis", "rate", 0.8, 1.2, against="celery-redis")
LIMIT = Figure("a limit", "idle", "taskyard-redis", "percent", 1, 0.5, is_limit=True)


def rounds(**rates: list[float]) -> dict[str, Any]:
    """Results of a drain: each contestant's rate per round."""
    names = [name.replace("_", "-") for name in rates]
    taken = [
        {name: {"rate": rate, "surplus": 0} for name, rate in zip(names, one, strict=True)}
        for one in zip(*rates.values(), strict=True)
    ]
    about = {"name": "drain", "when": "today", "commit": "abc", "command": "python -m bench", "versions": {}}
    machine = {"cpu": "some", "cores": 2, "memory_gb": 1, "system": "Linux", "load_before": 0}
    ran = {"contestants": names, "rounds": taken, "left_out": {}, "failed": {}}
    return about | ran | {"machine": machine, "options": {"jobs": 10}}


def idle(*percents: float) -> dict[str, Any]:
    return {"idle": {"rounds": [{"taskyard-redis": {"percent": percent}} for percent in percents]}}


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine was ten times slower in the second round: the ratios are 1, 2 and 1, the medians' ratio is not.
    results = {"drain": rounds(taskyard_redis=[1000, 200, 3000], celery_redis=[1000, 100, 3000])}
    assert RATIO.values(results) == [1, 2, 1]


def test_a_round_in_which_one_of_the_two_is_missing_does_not_count() -> None:
    results = {"drain": rounds(taskyard_redis=[500, 900], celery_redis=[1000, 1000])}
    del results["drain"]["rounds"][0]["celery-redis"]
    assert RATIO.values(results) == [0.9]


@pytest.mark.parametrize(("rate", "verdict"), [(700, "**MISSED**"), (800, "must"), (1199, "must"), (1200, "aim")])
def test_a_rate_has_to_reach_its_bars(rate: float, verdict: str) -> None:
    assert RATIO.verdict({"drain": rounds(taskyard_redis=[rate], celery_redis=[1000])}) == verdict


@pytest.mark.parametrize(
    ("percents", "verdict"), [((2, 0.4, 1.1), "**MISSED**"), ((2, 0.4, 1), "must"), ((0.4, 0.5, 9), "aim")]
)
def test_the_median_has_to_stay_below_a_limit(percents: tuple[float, ...], verdict: str) -> None:
    assert LIMIT.verdict(idle(*percents)) == verdict


def test_what_was_not_measured_is_said_and_not_passed() -> None:
    assert RATIO.verdict({}) == "not measured"


def test_every_figure_asks_for_something_that_is_measured() -> None:
    for figure in FIGURES:
        measurement = MEASUREMENTS[figure.measurement]
        assert {figure.contestant, figure.against or figure.contestant} <= set(measurement.contestants), figure
        assert figure.key in measurement.columns, figure
    assert len({figure.name for figure in FIGURES}) == len(FIGURES)


def test_every_note_belongs_to_a_figure() -> None:
    assert set(report.notes()) <= {figure.name for figure in FIGURES}


def test_smoke_runs_take_contestants_that_the_measurement_has() -> None:
    for measurement in MEASUREMENTS.values():
        assert set(measurement.quick) <= set(measurement.contestants) <= set(CONTESTANTS)


def test_the_report_is_made_of_the_results_alone_and_its_charts_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "gone.svg").write_text("of a measurement that was renamed")

    report.write(tmp_path, {"drain": rounds(taskyard_redis=[900, 1000, 1100], celery_redis=[1000, 1000, 1000])})

    text = (tmp_path / "RESULTS.md").read_text()
    assert "| drain, Redis, against Celery | 1 (0.9 to 1.1) × | ≥ 0.8 × | ≥ 1.2 × | must |" in text
    assert "| Taskyard, PostgreSQL + Redis | 1,000 (900 to 1,100) |" in text
    assert [file.name for file in (tmp_path / "charts").iterdir()] == ["drain.svg"]


def test_a_job_that_ran_twice_is_said_aloud(tmp_path: Path) -> None:
    results = rounds(taskyard_redis=[900], celery_redis=[1000])
    results["rounds"][0]["celery-redis"]["surplus"] = 3
    report.write(tmp_path, {"drain": results})
    assert "**Celery, Redis ran 3 jobs more than it was given.**" in (tmp_path / "RESULTS.md").read_text()


def test_a_bar_is_as_long_as_its_share_of_the_longest() -> None:
    picture = ET.fromstring(
        charts.bars("speed", "jobs/s", [charts.Bar("a < b", 50, 40, 60, True), charts.Bar("c", 100, 100, 100, False)])
    )
    widths = [float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[1] == pytest.approx(2 * widths[0])


def test_rounds_are_added_only_to_those_that_were_measured_in_the_same_way() -> None:
    def measured(**other: Any) -> dict[str, Any]:
        about = {"options": {"rounds": 1, "jobs": 9}, "versions": {"Django": "6.1"}, "machine": {"load_before": 1}}
        return {**about, "command": "bench drain", "rounds": [{"ours": {"rate": 1}}], "failed": {}, **other}

    saved = measured()
    results.refuse_other_rounds(saved, measured(machine={"load_before": 2}, options={"rounds": 5, "jobs": 9}))
    assert len(results.added(saved, measured())["rounds"]) == 2
    for other in ({"options": {"rounds": 1, "jobs": 8}}, {"versions": {"Django": "5.2"}}):
        with pytest.raises(SystemExit, match="measured with other"):
            results.refuse_other_rounds(saved, measured(**other))
