"""What an operator is told of outboxes: what the relay wrote down, and what a look into each of them finds."""

import datetime as dt
import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

if settings.KIND != "databases":
    pytest.skip("tenants have no databases of their own here", allow_module_level=True)

from taskyard.enqueue import INTAKE
from taskyard.models import Job, OutboxMessage, OutboxNote, RelayRound
from taskyard.monitoring.diagnosis import outboxes
from taskyard.monitoring.diagnosis.finding import Finding
from taskyard.outbox import relay as relaying
from taskyard.outbox.queries import relay_overview
from taskyard.outbox.relay import Relay
from taskyard.tenancy import tenant_context
from taskyard.tenancy.databases import database_of
from taskyard.testing import faults
from tests.tenancy.clients.directory import database
from tests.tenancy.shop import tasks

pytestmark = pytest.mark.usefixtures("tenants")

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def with_settings(**values: Any) -> Any:
    return override_settings(TASKYARD={**settings.TASKYARD, **values})


@pytest.fixture
def agent() -> Iterator[Relay]:
    made = Relay(uuid.uuid4(), INTAKE)
    yield made
    made.stop()


def unreadable(tenant: str, count: int = 1) -> None:
    rows = OutboxMessage.objects.using(database_of(tenant))
    for _ in range(count):
        rows.create(id=uuid.uuid4(), payload='{"from": "the future"}', created_at=NOW)


def standing(tenant: str, count: int, mark: Path) -> None:
    """Messages whose process died right after its commits."""
    with tenant_context(tenant):
        for number in range(count):
            died = faults.raising(mark.with_name(f"{mark.name}-{tenant}-{number}"), OperationalError("it died here"))
            with faults.armed("outbox.committed", died), pytest.raises(OperationalError):
                tasks.visit.enqueue()


def known() -> dict[str, Finding]:
    return {finding.name: finding for finding in outboxes.known()}


def notes() -> list[tuple[str, int, int]]:
    return list(OutboxNote.objects.order_by("place").values_list("place", "waiting", "unreadable"))


# -- what the relay writes down


def test_while_all_is_well_a_round_is_written_down_every_ten_seconds_and_nothing_for_an_outbox(agent: Relay) -> None:
    agent.run_once(NOW)
    with CaptureQueriesContext(connection) as quiet:
        for number in range(1, 10):
            agent.run_once(NOW + number * SECOND)
    assert not [one["sql"] for one in quiet if "taskyard_outboxnote" in one["sql"]]
    rounds = [one["sql"] for one in quiet if "relayround" in one["sql"] and one["sql"].startswith(("INSERT", "UPDATE"))]
    assert len(rounds) == 1
    agent.run_once(NOW + 12 * SECOND)
    last = RelayRound.objects.get()
    assert (last.outboxes, last.began_at, last.ended_at) == (2, NOW + 9 * SECOND, NOW + 12 * SECOND)
    assert notes() == []


def test_messages_that_were_relayed_leave_no_note(agent: Relay, tmp_path: Path) -> None:
    standing("acme", 3, tmp_path / "died")
    assert agent.run_once(NOW) == 3
    assert (notes(), Job.objects.count()) == ([], 3)


def test_messages_that_cannot_be_made_jobs_are_noted_until_they_are_gone(agent: Relay) -> None:
    unreadable("acme", 2)
    agent.run_once(NOW)
    assert notes() == [(":acme", 2, 2)]
    finding = known()["outboxes"]
    assert "2 messages stood in 1 outbox" in finding.finding
    assert "acme 2; 2 of them cannot be made jobs" in finding.finding
    assert (finding.level, finding.facts["unreadable"]) == ("warn", 2)
    OutboxMessage.objects.using(database_of("acme")).all().delete()
    agent.run_once(NOW + SECOND)
    assert notes() == []
    assert "outboxes" not in known()


def test_a_large_backlog_is_counted_now_and_then_while_it_is_worked_off(
    agent: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "BATCH", 2)
    standing("acme", 7, tmp_path / "died")
    agent.run_once(NOW)
    assert notes() == [(":acme", 5, 0)]
    agent.run_once(NOW + SECOND)
    assert notes() == [(":acme", 5, 0)]
    agent.run_once(NOW + 11 * SECOND)
    assert notes() == [(":acme", 1, 0)]
    agent.run_once(NOW + 12 * SECOND)
    assert (notes(), Job.objects.count()) == ([], 7)


def test_a_database_that_is_away_is_noted_with_the_time_it_went_until_it_is_back(agent: Relay) -> None:
    places = {"acme": database("acme"), "globex": {**database("globex"), "NAME": "/nowhere/at/all"}}

    def tenants(name: str | None = None) -> Any:
        return list(places) if name is None else places.get(name)

    with with_settings(TENANTS=tenants):
        for seconds in (0, 11, 32):
            agent.run_once(NOW + seconds * SECOND)
        note = OutboxNote.objects.get()
        assert (note.place, note.failing_since, note.again_at) == (":globex", NOW, NOW + 72 * SECOND)
        assert note.error.startswith("OperationalError: ")
        finding = known()["outboxes away"]
        assert "the relay cannot look into 1 outbox: globex; globex for " in finding.finding
        assert (finding.level, finding.facts["outboxes"]) == ("warn", ["globex"])
        places["globex"] = database("globex")
        agent.run_once(NOW + 73 * SECOND)
        assert notes() == []
        assert "outboxes away" not in known()


def test_the_note_of_a_tenant_that_is_no_longer_listed_goes_with_the_next_round(agent: Relay) -> None:
    OutboxNote.objects.create(place=":long gone", waiting=3)
    agent.run_once(NOW)
    assert notes() == []


def test_a_relay_that_takes_over_goes_on_with_the_notes_of_the_one_before(agent: Relay) -> None:
    unreadable("acme")
    agent.run_once(NOW)
    other = Relay(uuid.uuid4(), INTAKE)
    other.run_once(NOW)
    agent.stop()
    OutboxMessage.objects.using(database_of("acme")).all().delete()
    other.run_once(NOW + 2 * SECOND)
    assert notes() == []
    other.stop()


# -- what doctor and status make of it


def test_the_relay_is_said_to_act_and_when_it_had_been_through_all_outboxes() -> None:
    now = dt.datetime.now(dt.UTC)
    agent = Relay(uuid.uuid4(), INTAKE)
    for seconds in (2, 1, 0):
        agent.run_once(now - seconds * SECOND)
    finding = known()["relay"]
    assert finding.level == "ok"
    assert "looked into all 2 outboxes in 1.0 s" in finding.finding
    agent.stop()
    assert known()["relay"].level == "warn"
    OutboxNote.objects.create(place=":acme", waiting=3, oldest_at=now, seen_at=now)
    assert known()["relay"].level == "fail"
    assert "taskyard scheduler" in known()["relay"].fix


def test_what_the_relay_knows_is_told_without_asking_a_tenants_database(agent: Relay) -> None:
    unreadable("acme", 2)
    agent.run_once(NOW)
    connections["tenant:acme"].close()
    with CaptureQueriesContext(connection) as asked:
        list(outboxes.known())
    assert len(asked) == 3
    assert connections["tenant:acme"].connection is None
    out = io.StringIO()
    call_command("taskyard", "status", "--json", stdout=out)
    relay = json.loads(out.getvalue())["relay"]
    assert [(note["name"], note["waiting"]) for note in relay["notes"]] == [("acme", 2)]
    out = io.StringIO()
    call_command("taskyard", "status", stdout=out)
    assert "Outboxes" in out.getvalue() and "acme" in out.getvalue()
    assert relay_overview(NOW).waiting == 2


# -- a look into each of them


def doctor(*words: str) -> dict[str, Any]:
    out = io.StringIO()
    # It fails or not by what else there is.
    with suppress(CommandError):
        call_command("taskyard", "doctor", "--json", *words, stdout=out)
    return {check["name"]: check for check in json.loads(out.getvalue())["checks"]}


def test_every_outbox_is_looked_into_when_that_is_asked_for(tmp_path: Path) -> None:
    assert "all outboxes" not in doctor()
    check = doctor("--outboxes")["all outboxes"]
    assert (check["level"], check["finding"]) == ("ok", "2 looked into, nothing stands in them")
    standing("acme", 3, tmp_path / "died")
    check = doctor("--outboxes", "20")["all outboxes"]
    assert (check["level"], check["facts"]["standing"]) == ("warn", {"acme": 3})
    assert "3 messages stand in 1 outbox, the oldest written " in check["finding"]
    assert check["facts"]["looked_into"] == 2
    # Looking moves nothing.
    assert OutboxMessage.objects.using(database_of("acme")).count() == 3


def test_one_that_is_away_is_named_beside_the_others(tmp_path: Path) -> None:
    standing("acme", 1, tmp_path / "died")
    places = {"acme": database("acme"), "globex": {**database("globex"), "NAME": "/nowhere/at/all"}}
    with with_settings(TENANTS=lambda name=None: list(places) if name is None else places.get(name)):
        check = doctor("--outboxes")["all outboxes"]
    assert check["facts"]["standing"] == {"acme": 1}
    assert list(check["facts"]["failed"]) == ["globex"]
    assert "1 outbox could not be looked into: globex (OperationalError" in check["finding"]


def test_a_look_that_takes_too_long_is_cut_off_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    look = outboxes._look

    def hangs(place: str) -> Any:
        if place == ":globex":
            go_on.wait(30)
        return look(place)

    monkeypatch.setattr(outboxes, "_look", hangs)
    before = set(threading.enumerate())
    [finding] = outboxes.all_of_them(2)
    go_on.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert finding.level == "warn"
    assert "cut off after 2.0 s: 1 of 2 were not looked into" in finding.finding
    assert finding.fix == "Give it longer: taskyard doctor --outboxes 8"
    assert (finding.facts["looked_into"], finding.facts["outboxes"]) == (1, 2)
