"""The list of sagas reads through indexes, whatever is asked of it, and never looks at all rows."""

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings

from taskyard.jobs.pages import keyset
from taskyard.models import Saga
from tests.integration.shelf import statements

pytestmark = pytest.mark.django_db(transaction=True)

SAGAS = "/admin/taskyard/saga/"
ROWS = 20_000
NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
#: What is asked, and through which index, in its order; empty where any of them is as good: few rows are left then.
QUESTIONS = {
    "all": ("", "created"),
    "of a state that many are in": ("?state=completed", ""),
    "of a state that few are in": ("?state=waiting", "state"),
    "what needs attention": ("?state=needs_attention", "state"),
    "what has not ended": ("?state=unended", ""),
    "of a name that nobody knows": ("?name=unknown", ""),
    "of a name, typed": ("?q=unknown", ""),
    "of a day": ("?age=day", "created"),
    "of a tenant": ("?tenant=acme", "tenant"),
    "of a tenant, needing attention": ("?tenant=acme&state=needs_attention", ""),
    "about a row": ("?q=app.note:100", "subject"),
}


@pytest.fixture(autouse=True)
def filled(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    # Less than there is, as in a table of millions.
    monkeypatch.setattr(keyset, "MOST_LOOKED", 500)
    Saga.objects.bulk_create([_row(number) for number in range(ROWS)], batch_size=500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE taskyard_saga" if connection.vendor == "mysql" else "ANALYZE")


def _row(number: int) -> Saga:
    at = NOW - dt.timedelta(minutes=number)
    state = "needs_attention" if number % 1000 == 7 else "waiting" if number % 200 == 9 else "completed"
    return Saga(
        id=uuid.uuid4(), name="order", version=1, plan="p", state=state, queue="celery", created_at=at, updated_at=at,
        tenant="acme" if number % 100 == 0 else "globex", finished_at=at if state == "completed" else None,
        due_at=at if state == "waiting" else None, subject_type="app.note" if number % 100 == 0 else "",
        subject_id=str(number) if number % 100 == 0 else "",
    )  # fmt: skip


def asked_by(client: Client, page: str) -> tuple[Any, list[tuple[str, Any]]]:
    with statements() as seen:
        response = client.get(page)
    assert response.status_code == 200, page
    return response, [each for each in seen if "taskyard_saga" in each[0] and "EXPLAIN" not in each[0]]


def plan_of(sql: str, params: Any) -> Iterator[tuple[str, bool]]:
    """Of a statement the indexes it reads by, and whether it sorts what it found."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            found = cursor.fetchone()[0]
            text = found if isinstance(found, str) else json.dumps(found)
            yield text, '"Sort"' in text
        elif connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            text = "\n".join(row[3] for row in cursor.fetchall())
            yield text.replace("SCAN taskyard_saga\n", "Seq Scan").replace("(~", "("), "TEMP B-TREE" in text
        else:
            cursor.execute(f"EXPLAIN {sql}", params)
            names = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                told = dict(zip(names, row, strict=True))
                yield told["key"] or "Seq Scan", "filesort" in (told["Extra"] or "")


def wrong_with(index: str, seen: list[tuple[str, Any]]) -> list[str]:
    return [
        text
        for sql, params in seen
        for text, has_sorted in plan_of(sql, params)
        # Few are about one row: they may be sorted.
        if "Seq Scan" in text or (has_sorted and index not in ("", "subject")) or f"taskyard_saga_{index}" not in text
    ]


def test_each_question_about_sagas_is_answered_through_an_index(client: Client) -> None:
    wrong = {}
    for name, (asked, index) in QUESTIONS.items():
        response, seen = asked_by(client, SAGAS + asked)
        following = response.context["cl"].next_at
        if following:
            seen += asked_by(client, SAGAS + following)[1]
        # What is counted above the list is asked through the states.
        counting = [each for each in seen if "name" not in each[0].partition("FROM")[0]]
        seen = [each for each in seen if each not in counting]
        assert seen, name
        assert all("LIMIT" in sql for sql, _ in [*seen, *counting]), name
        found = wrong_with(index, seen) + wrong_with("state", [each for each in counting if "updated_at" in each[0]])
        if found:
            wrong[name] = found
    assert not wrong, json.dumps(wrong, indent=1)


def test_people_of_a_tenant_ask_the_index_of_theirs(client: Client) -> None:
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        for asked, index in (("", "tenant"), ("?name=order", "tenant"), ("?state=unended", "")):
            _, seen = asked_by(client, SAGAS + asked)
            lists = [each for each in seen if "name" in each[0].partition("FROM")[0]]
            assert lists and not wrong_with(index, lists), asked


def test_a_page_looks_at_no_more_rows_than_it_says(client: Client) -> None:
    page = client.get(f"{SAGAS}?name=unknown").context["cl"].page
    assert (page.rows, page.is_cut) == ((), True)
    assert Saga.objects.filter(created_at__gt=page.after[0]).count() <= keyset.MOST_LOOKED
