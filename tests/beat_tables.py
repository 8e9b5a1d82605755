"""django-celery-beat's tables, for tests that need them: it is not one of the test project's apps."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.test import override_settings


@pytest.fixture(scope="module")
def beat_tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Its app installed, with its tables as its models say."""
    pytest.importorskip("django_celery_beat", reason="pip install --no-deps -r tests/compat/packages.txt")
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "django_celery_beat"]):
        from django.apps import apps

        models = list(apps.get_app_config("django_celery_beat").get_models())
        with django_db_blocker.unblock():
            with connection.schema_editor() as editor:
                for model in models:
                    editor.create_model(model)
            yield
            # Its admin was discovered with it, in a process whose next page would look for the app.
            for model in models:
                if model in admin.site._registry:
                    admin.site.unregister(model)
            with connection.schema_editor() as editor:
                for model in reversed(models):
                    editor.delete_model(model)
