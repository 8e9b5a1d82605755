"""After each test that commits, nothing of it is left; what `migrate` wrote is."""

import pytest
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command, get_commands
from django.db import connection

from taskyard.models import Attempt, Job
from tests.app import tasks
from tests.app.models import Note
from tests.flushing.management.commands.flush import KEPT, MOST_BYTES

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("size", [10, MOST_BYTES])
def test_every_table_is_emptied_but_those_that_migrate_fills(size: int) -> None:
    assert get_commands()["flush"] == "tests.flushing"
    kept = set(ContentType.objects.values_list("id", "model"))
    job = tasks.nothing.enqueue(n=1)
    Attempt.objects.create(job=Job.objects.get(id=job.id), number=1, started_at=job.created_at, ended_at=job.created_at)
    Note.objects.bulk_create(Note(text="x" * 100) for _ in range(size // 50))

    call_command("flush", verbosity=0, interactive=False)

    models = [model for model in apps.get_models(include_auto_created=True) if model._meta.db_table not in KEPT]
    assert {model._meta.db_table: model._base_manager.count() for model in models} == {
        model._meta.db_table: 0 for model in models
    }
    assert kept and set(ContentType.objects.values_list("id", "model")) == kept


@pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere rows are deleted")
def test_a_table_with_statistics_is_truncated() -> None:
    Note.objects.create(text="x")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE app_note")
    call_command("flush", verbosity=0, interactive=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpages, pg_relation_size(oid) FROM pg_class WHERE oid = 'app_note'::regclass")
        assert cursor.fetchone() == (0, 0)
