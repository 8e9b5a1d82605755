"""``CELERY_TASK_ALWAYS_EAGER``: whose setting counts, and for how long."""

import pytest
from django.test import override_settings

from taskyard.celery import Celery, eager
from taskyard.celery.application import get_app


def test_eager_mode_ends_with_the_setting_of_the_test_that_first_used_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("fresh", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    monkeypatch.setattr(eager, "get_app", lambda: app)

    with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
        assert app.conf.task_serializer == "json"  # reads the configuration
        assert eager.is_eager()

    assert not eager.is_eager()


def test_an_app_may_be_eager_without_djangos_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("by itself", set_as_current=False)
    app.config_from_object({"task_always_eager": True})
    assert app.conf.task_serializer == "json"
    monkeypatch.setattr(eager, "get_app", lambda: app)

    assert eager.is_eager()
    assert not get_app().is_configured_eager
