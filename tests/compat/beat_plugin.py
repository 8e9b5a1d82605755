"""Puts our scheduler in the place of django-celery-beat's, for its own tests."""

from typing import Any

from _pytest.fixtures import FixtureFunctionDefinition
from _pytest.mark import structures


def pytest_configure() -> None:
    import django

    django.setup()
    from django_celery_beat import schedulers

    from taskyard.compat.django_celery_beat import DatabaseScheduler

    schedulers.DatabaseScheduler = DatabaseScheduler


_store_mark = structures.store_mark


def _store_mark_of_tests(thing: Any, *args: Any, **kwargs: Any) -> None:
    # They mark fixtures, which never meant anything, and is an error since pytest 9.
    if not isinstance(thing, FixtureFunctionDefinition):
        _store_mark(thing, *args, **kwargs)


structures.store_mark = _store_mark_of_tests
