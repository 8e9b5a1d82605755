"""What follows a job is not lost and not doubled, wherever the process that ends the job dies."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord

from taskyard.models import Job
from tests import workers
from tests.app import plain
from tests.app.plain import breaks, double, on_error_with_mark, say
from tests.servers import wait_until
from tests.workers import Project, wait_for_state, wait_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

POINTS = ("body.ended", "settle.begin", "settle.moved", "settle.written", "settle.done")

#: What follows, in whichever canvas.
FOLLOWERS = (say.name, on_error_with_mark.name)

SOON = 40.0


class Faults:
    """Kills the process that reaches an armed point first; disarmed while the point's mark exists."""

    def __init__(self, folder: Path) -> None:
        self.marks = {point: folder / point for point in POINTS}
        for mark in self.marks.values():
            mark.touch()

    def arm(self, point: str) -> None:
        self.marks[point].unlink()

    def has_struck(self, point: str) -> bool:
        return self.marks[point].exists()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: Any
) -> Iterator[tuple[Project, Faults]]:
    """One worker for all points: its children die and are replaced."""
    folder = tmp_path_factory.mktemp("continuations")
    faults = Faults(folder)
    marks = {point: str(mark) for point, mark in faults.marks.items()}
    with django_db_blocker.unblock(), workers.project(folder, faults=marks) as made:
        made.start_worker()
        yield made, faults


@pytest.fixture
def project(served: tuple[Project, Faults], db: None) -> Iterator[Project]:
    yield served[0]
    wait_until_idle(SOON)


@pytest.fixture
def faults(served: tuple[Project, Faults]) -> Faults:
    return served[1]


def chain_step(mark: str, path: Path, strike: Callable[[], None]) -> None:
    strike()
    (double.s(1) | say.si(mark)).apply_async()


def link(mark: str, path: Path, strike: Callable[[], None]) -> None:
    strike()
    double.apply_async((1,), link=say.si(mark))


def error_link(mark: str, path: Path, strike: Callable[[], None]) -> None:
    strike()
    breaks.apply_async(link_error=on_error_with_mark.s(mark=mark))


def last_member_of_a_chord(mark: str, path: Path, strike: Callable[[], None]) -> None:
    body = chord([double.s(1), plain.double_later.s(2, str(path))])(say.si(mark))
    wait_for_state(body.parent.results[0].id, "succeeded", SOON)
    wait_for_state(body.parent.results[1].id, "running", SOON)
    strike()
    path.touch()


def failed_member_of_a_chord(mark: str, path: Path, strike: Callable[[], None]) -> None:
    strike()
    chord([breaks.s()])(double.s().on_error(on_error_with_mark.s(mark=mark)))


def replacement(mark: str, path: Path, strike: Callable[[], None]) -> None:
    strike()
    (plain.replaced_by.si("chain", 1) | say.si(mark)).apply_async()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    "start", [chain_step, link, error_link, last_member_of_a_chord, failed_member_of_a_chord, replacement]
)
def test_what_follows_a_job_runs_once_though_the_process_that_ends_it_dies(
    project: Project, faults: Faults, tmp_path: Path, point: str, start: Callable[..., None]
) -> None:
    mark = uuid.uuid4().hex

    start(mark, tmp_path / "go", lambda: faults.arm(point))

    followers = Job.objects.filter(task__in=FOLLOWERS)
    wait_until(lambda: followers.filter(state="succeeded").exists(), SOON, "what follows")
    wait_until_idle(SOON)
    assert faults.has_struck(point), "nothing died"
    assert followers.count() == 1
    assert sum(mark in line for line in project.history()) == 1
