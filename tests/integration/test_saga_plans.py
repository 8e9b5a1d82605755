"""Lists of sagas, and what `status` asks about them, read through indexes whatever is asked."""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from taskyard.jobs.pages import keyset
from taskyard.sagas.models import Saga
from taskyard.sagas.reading import queries
from taskyard.sagas.reading.queries import SagaFilter
from tests.integration.shelf import statements

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the plans are told in PostgreSQL's words"),
    pytest.mark.any_django("which index a statement takes is the server's doing"),
]

ROWS = 10_000


@pytest.fixture(autouse=True)
def filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all have completed; a few tenants, subjects and names; some wait for a person or a time."""
    # Less than there is, as among millions.
    monkeypatch.setattr(keyset, "MOST_LOOKED", 500)
    now = timezone.now()
    Saga.objects.bulk_create((_row(number, now) for number in range(ROWS)), batch_size=1_000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskyard_saga")


def _row(number: int, now: dt.datetime) -> Saga:
    at = now - dt.timedelta(seconds=number)
    state = "needs_attention" if number % 1_000 == 7 else "waiting" if number % 100 == 3 else "completed"
    return Saga(
        id=uuid.uuid4(), name="rare" if number == 9 else "order", version=1, plan="0" * 32, queue="celery", state=state,
        tenant=f"t{number % 50}", created_at=at, updated_at=at, finished_at=at if state == "completed" else None,
        due_at=now + dt.timedelta(hours=1) if state == "waiting" else None, subject_type="shop.cart",
        subject_id=str(number % 5_000),
    )  # fmt: skip


def plans_of(seen: list[tuple[str, Any]]) -> list[str]:
    found = []
    for sql, params in seen:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}", params)
            found.append("\n".join(row[0] for row in cursor.fetchall()))
    return found


#: What is asked, and through which index; an empty word where several are as good.
QUESTIONS = [
    (SagaFilter(), "taskyard_saga_created"),
    (SagaFilter(name="rare"), "taskyard_saga_created"),
    (SagaFilter(states=("needs_attention",)), "taskyard_saga_state"),
    (SagaFilter(states=("needs_attention",), tenant="t7"), "taskyard_saga_state"),
    (SagaFilter(states=("waiting", "running")), ""),
    (SagaFilter(tenant="t7"), "taskyard_saga_tenant"),
    (SagaFilter(subject=("shop.cart", "17")), "taskyard_saga_subject"),
]


def test_a_page_of_sagas_is_read_through_an_index() -> None:
    for wanted, index in QUESTIONS:
        with statements() as seen:
            page = queries.find_page(wanted, limit=20)
            if page.after is not None:
                queries.find_page(wanted, after=keyset.place_text(page.after), limit=20)
        plans = plans_of(seen)
        assert plans and all("Seq Scan" not in plan and index in plan for plan in plans), "\n\n".join(plans)


def test_what_needs_attention_and_what_nobody_looks_at_is_found_without_reading_the_others() -> None:
    with statements() as seen:
        assert queries.needing_attention().count == ROWS // 1_000
        assert queries.not_looked_at(timezone.now()).count == 0
        assert queries.needing_attention(tenant="t7").count == ROWS // 1_000
    plans = plans_of(seen)
    assert all("Seq Scan" not in plan for plan in plans), "\n\n".join(plans)
