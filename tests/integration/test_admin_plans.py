"""The list of schedules reads through indexes, whatever is asked of it, and never counts all rows."""

import datetime as dt
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from taskyard.admin import listing
from taskyard.schedules import Every
from taskyard.schedules.models import Schedule
from tests.app.tasks import nothing
from tests.integration.shelf import statements

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.any_django("which index a statement takes is the server's doing"),
]

LIST = "/admin/taskyard/schedule/"
#: By hand also with more of them.
ROWS = int(os.environ.get("TASKYARD_TEST_SCHEDULES", "20000"))
#: Of each kind that is held back.
FEW = 20


def fill() -> None:
    """Schedules of a hundred tenants; a few are paused, disabled, parked."""
    first = Schedule.objects.define(name="report", recurrence=Every(dt.timedelta(hours=1)), task=nothing)
    columns = [f.column for f in Schedule._meta.concrete_fields if f.column not in ("id", "name", "tenant")]
    quoted = ", ".join(columns)
    numbers = f"WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    text = "VARCHAR(20)" if connection.vendor == "postgresql" else "CHAR(20)"
    select = (
        f"SELECT {_joined('report-', f'CAST(i AS {text})')}, {_joined('tenant-', f'CAST(i % 100 AS {text})')}, {quoted}"
        f" FROM taskyard_schedule, n WHERE id = {first.pk}"
    )
    insert = f"INSERT INTO taskyard_schedule (name, tenant, {quoted})"
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION max_recursive_iterations = 1000000")
            cursor.execute(f"{insert} {numbers} {select}")
        else:
            cursor.execute(f"{numbers} {insert} {select}")
    ids = list(Schedule.objects.order_by("id").values_list("id", flat=True)[: 3 * FEW])
    Schedule.objects.filter(id__in=ids[:FEW]).update(paused_at=timezone.now())
    Schedule.objects.filter(id__in=ids[FEW : 2 * FEW]).update(enabled=False, next_at=None)
    Schedule.objects.filter(id__in=ids[2 * FEW :]).update(error="broken", next_at=None)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE taskyard_schedule" if connection.vendor == "mysql" else "ANALYZE")


def _joined(word: str, expression: str) -> str:
    return f"CONCAT('{word}', {expression})" if connection.vendor == "mysql" else f"'{word}' || {expression}"


def whole_reads(sql: str, params: Any) -> list[str]:
    """Where a statement reads all of the table of schedules."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
            found = cursor.fetchone()[0]
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            return [json.dumps(node) for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            return [row[3] for row in cursor.fetchall() if re.match(r"SCAN taskyard_schedule(?! USING)", row[3])]
        cursor.execute(f"EXPLAIN {sql}", params)
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return [str(row) for row in rows if row["table"] == "taskyard_schedule" and row["type"] == "ALL"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


#: What is asked, and how many there are at most.
QUESTIONS: dict[str, tuple[dict[str, str], int]] = {
    "all": ({}, listing.MOST_ROWS),
    "backwards": ({"o": "-1"}, listing.MOST_ROWS),
    "what is next": ({"o": "5"}, listing.MOST_ROWS),
    "what is last": ({"o": "-5"}, listing.MOST_ROWS),
    "a page far down": ({"p": "150"}, listing.MOST_ROWS),
    "paused": ({"state": "paused"}, FEW),
    "disabled": ({"state": "disabled"}, FEW),
    "parked": ({"state": "parked"}, FEW),
    "still": ({"state": "still"}, 2 * FEW),
    "on": ({"state": "on"}, listing.MOST_ROWS),
    "beginning of a name": ({"q": "report-1234"}, ROWS // 100),
    "a tenant's": ({"tenant": "tenant-7"}, ROWS // 100),
    "a tenant's by its name": ({"q": "tenant-7:report-10"}, ROWS // 100),
}


def test_each_question_is_answered_through_an_index(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    fill()
    wrong = {}
    for name, (asked, most) in QUESTIONS.items():
        with statements() as seen:
            response = client.get(LIST, asked)
        assert response.status_code == 200, name
        shown = response.context["cl"]
        assert 0 < shown.result_count <= most, (name, shown.result_count)
        assert shown.paginator.is_capped == (most == listing.MOST_ROWS), name
        mine = [(sql, params) for sql, params in seen if "taskyard_schedule" in sql]
        assert len(mine) >= 2, name
        counts = [sql for sql, _ in mine if "COUNT(" in sql]
        assert all("LIMIT 10001" in sql for sql in counts), counts
        # A count that stops after so many rows may as well read them as they lie.
        answers = [each for each in mine if most < listing.MOST_ROWS or "COUNT(" not in each[0]]
        found = [(sql[-200:], read) for sql, params in answers for read in whole_reads(sql, params)]
        if found:
            wrong[name] = found
    assert not wrong, json.dumps(wrong, indent=1)
