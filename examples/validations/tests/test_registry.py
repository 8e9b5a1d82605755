"""V1, V2: one registry in code, packages downstream add to it, and the rows follow it at each deploy."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from taskyard.errors import InvalidSchedule
from taskyard.schedules import Cron, Schedule, register
from taskyard.schedules.recurrence import explain, recurrence_from_json
from taskyard.schedules.sources.code import _declared, declared

WHEN = {
    "purge-expired-submissions": "0 * * * *",
    "purge-expired-outputs": "0 * * * *",
    "retry-failed-purges": "*/5 * * * *",
    "mark-hung-runs-failed": "*/10 * * * *",
    "remove-orphaned-containers": "*/10 * * * *",
    "clean-idempotency-keys": "0 3 * * *",
    "clean-receipts": "0 4 * * SUN",
    "clean-sessions": "0 2 * * *",
    "send-periodic-emails": "0 */6 * * *",
}


def rows() -> dict[str, str]:
    return {row.name: row.recurrence["expression"] for row in Schedule.objects.all()}


def changes(*words: str) -> dict[str, list[str]]:
    """What ``sync_schedules`` says it does, or would do, by kind."""
    out = StringIO()
    try:
        call_command("sync_schedules", "--backend=celery", *words, "--json", stdout=out)
    except CommandError as end:
        assert ("--dry-run" in words, end.returncode) == (True, 1)
    said: dict[str, list[str]] = {}
    for change in json.loads(out.getvalue()):
        said.setdefault(change["kind"], []).append(change["name"])
    return said


def test_the_nine_and_what_a_package_downstream_registered_are_rows() -> None:
    assert rows() == {**WHEN, "billing-meter-usage": "30 0 * * *"}
    assert all(row.description and row.origin == "code" for row in Schedule.objects.all())
    weekly = recurrence_from_json(Schedule.objects.get(name="clean-receipts").recurrence)
    assert explain(weekly) == "At 04:00 on Sunday, UTC"


def test_setting_up_twice_changes_nothing() -> None:
    before = list(Schedule.objects.values())
    call_command("set_up", verbosity=0)
    assert list(Schedule.objects.values()) == before


def test_a_name_is_registered_once() -> None:
    with pytest.raises(InvalidSchedule, match="declared twice"):
        register("clean-sessions", Cron("0 1 * * *"), task="housekeeping.clean_sessions")


def test_the_rows_follow_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    before = declared()
    for name in before:
        monkeypatch.delitem(_declared, name)
    register("clean-sessions", Cron("0 1 * * *"), task="housekeeping.clean_sessions")
    for name in WHEN.keys() - {"clean-sessions", "clean-receipts"}:
        monkeypatch.setitem(_declared, name, before[name])
    monkeypatch.setitem(_declared, "new", before["clean-receipts"])
    expected = {"add": ["new"], "change": ["clean-sessions"], "remove": ["billing-meter-usage", "clean-receipts"]}
    assert {kind: sorted(names) for kind, names in changes("--dry-run").items()} == expected
    # A look changes nothing.
    assert "new" not in rows()
    changes()
    assert (rows()["clean-sessions"], "new" in rows(), "clean-receipts" in rows()) == ("0 1 * * *", True, False)
    assert changes() == {}
    monkeypatch.delitem(_declared, "clean-sessions")


def test_an_emergency_edit_is_visible_and_the_next_deploy_reverts_it_or_adopts_it_if_told() -> None:
    row = Schedule.objects.get(name="send-periodic-emails")

    def edit() -> None:
        Schedule.objects.filter(pk=row.pk).update(recurrence=Cron("0 */12 * * *").to_json())

    edit()
    assert changes("--dry-run") == {"revert": ["send-periodic-emails"]}
    changes("--adopt")
    assert rows()["send-periodic-emails"] == "0 */12 * * *"
    changes()
    assert rows()["send-periodic-emails"] == WHEN["send-periodic-emails"]


def test_what_people_made_or_switched_off_is_theirs(run: Any) -> None:
    Schedule.objects.define(name="only in June", task="housekeeping.clean_sessions", recurrence=Cron("0 5 * 6 *"))
    Schedule.objects.get(name="clean-receipts").disable()
    call_command("set_up", verbosity=0)
    assert "only in June" in rows()
    assert not Schedule.objects.get(name="clean-receipts").enabled
