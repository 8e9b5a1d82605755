"""Tasks that both kinds of process know."""

from celery import shared_task
from django.db import connection


@shared_task(name="moving.write")
def write(text: str) -> None:
    from test_app.tenant.models import DummyModel

    DummyModel.objects.create(name=f"{connection.schema_name}: {text}")


@shared_task(name="moving.where")
def where() -> str:
    return str(connection.schema_name)
