"""Found as ``tasks.py`` is, by whatever runs tasks."""

from taskyard import task


@task(name="app.beside_its_schedule")
def beside_its_schedule() -> None: ...
