"""The admin of schedules, as its pages are used: what they show, what they send, what becomes of it."""

import datetime as dt
import html
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from taskyard.admin.form import ScheduleForm
from taskyard.jobs.models import Job
from taskyard.models import AuditEntry
from taskyard.operations import Actor
from taskyard.schedules import At, Bounds, Calendar, Cron, Every
from taskyard.schedules.models import Occurrence, Schedule, ScheduleVersion
from taskyard.schedules.recurrence import explain
from taskyard.schedules.scheduler import decide_due
from taskyard.schedules.sources import code
from taskyard.tenancy import tenant_context
from tests.app.tasks import nothing
from tests.integration.forms import sent_by

pytestmark = pytest.mark.django_db

LIST = "/admin/taskyard/schedule/"
ADD = f"{LIST}add/"
HOUR = dt.timedelta(hours=1)
NIGHTLY = Cron("30 2 * * *", timezone="Europe/Berlin")


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return user


@pytest.fixture
def viewer(client: Client) -> User:
    user = User.objects.create_user("vera", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_schedule", "view_payload"]))
    client.force_login(user)
    return user


@pytest.fixture
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(code, "_declared", {})
    yield


def define(**said: Any) -> Schedule:
    values: dict[str, Any] = {"name": "tick", "recurrence": Every(HOUR), "task": nothing, **said}
    return Schedule.objects.define(**values)


def change(row: Schedule) -> str:
    return f"{LIST}{row.pk}/change/"


def text_of(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return html.unescape(response.content.decode())


def send(client: Client, page: str, **typed: Any) -> Any:
    """Open a page, type something, save."""
    form = sent_by(client.get(page).content.decode(), "schedule_form", **typed)
    assert form
    return client.post(page, form)


def said_at(response: Any) -> dict[str, str]:
    """What the form was told, by field."""
    assert response.status_code == 200, "it was saved"
    errors = response.context["adminform"].form.errors
    return {field: " ".join(sentences) for field, sentences in errors.items()}


def messages_of(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


# -- what is typed -----------------------------------------------------------------------------------------------------

WHOLE = {
    "plain": {},
    "cron": {"recurrence": Cron("0 8 * * MON", timezone="Europe/Berlin", gap="skip", fold="last")},
    "interval": {"recurrence": Cron("*/20 * * * *", timezone="America/New_York")},
    "every": {"recurrence": Every(dt.timedelta(minutes=90), phase=dt.timedelta(seconds=61))},
    "once": {"recurrence": At(dt.datetime(2031, 10, 26, 0, 30, 0, 123456, tzinfo=dt.UTC))},
    "called": {
        "args": [], "kwargs": {"n": 3}, "queue": "slow", "priority": -7, "description": "Zwölf & <b>mehr</b>\nLines",
    },
    "by position": {"args": [3]},
    "options": {"options": {"headers": {"a": 1}}},
    "rules": {
        "overlap": "buffer_one", "catch_up": "last_n", "catch_up_count": 7, "pause_after_failures": 2,
        "catch_up_window": dt.timedelta(seconds=90.5),
    },
    "tenants": {"tenants": ["acme", "globex"], "spread": dt.timedelta(minutes=10), "overlap": "allow"},
    "each": {"tenants": "each"},
    "bounded": {"bounds": Bounds(
        start=dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC), end=dt.datetime(2040, 1, 1, tzinfo=dt.UTC),
        max_runs=5, window=dt.timedelta(days=1, seconds=5),
    )},
    "calendars": {"bounds": Bounds(calendars=[
        Calendar(
            name="Germany", weekdays=["SUN", "SAT"], holidays={dt.date(2027, 12, 25): "Christmas Day"},
            ranges=[(dt.date(2027, 12, 24), dt.date(2027, 12, 31))], dates=[dt.date(2027, 1, 1)], timezone="Asia/Tokyo",
        ),
        Calendar(dates=[dt.date(2028, 1, 1)]),
    ])},
    "odd calendar": {"bounds": Bounds(calendars=[Calendar(holidays={dt.date(2027, 12, 25): "two\nlines"})])},
    "empty calendar": {"bounds": Bounds(calendars=[Calendar(name="nothing")])},
}  # fmt: skip


def typed_into(row: Schedule | None = None, **typed: Any) -> ScheduleForm:
    """The form after it was shown, changed and sent: without the page around it, which takes longer."""
    page = _empty_form() if row is None else f'<form id="form">{ScheduleForm(instance=row).as_div()}</form>'
    return ScheduleForm(MultiValueDict(sent_by(page, "form", **typed)), instance=row)


@lru_cache
def _empty_form() -> str:
    return f'<form id="form">{ScheduleForm().as_div()}</form>'


@pytest.mark.parametrize("name", WHOLE)
def test_a_form_that_is_saved_as_it_is_changes_nothing(name: str) -> None:
    row = define(subject=("app.note", "7"), **WHOLE[name])
    for zone in ("UTC", "Europe/Berlin"):
        with timezone.override(zone):
            form = typed_into(row)
            assert form.is_valid(), form.errors
            assert form.define(Actor.system("ada")).version == 1
    assert ScheduleVersion.objects.count() == 1


def test_a_page_that_is_saved_as_it_is_changes_nothing(ada: User, client: Client) -> None:
    row = define(subject=ada, **WHOLE["calendars"])
    assert send(client, change(row)).status_code == 302
    row.refresh_from_db()
    assert row.version == 1


def test_what_is_typed_becomes_a_schedule_that_runs(ada: User, client: Client) -> None:
    response = send(
        client, ADD, name="report-17", task="app.nothing", kwargs='{"n": 17}', queue="slow", priority="5",
        expression="*/5 * * * *", timezone="Europe/Berlin", window="0 s", calendar_weekdays=["SUN"],
        calendar_days="2027-12-25 Christmas Day\n2027-12-27 .. 2027-12-31", overlap="allow", pause_after_failures="3",
    )  # fmt: skip
    assert response.status_code == 302
    row = Schedule.objects.get()
    assert (row.origin, row.created_by, row.version, row.tenant) == ("admin", str(ada.pk), 1, "")
    assert (row.kwargs, row.queue, row.priority, row.pause_after_failures) == ({"n": 17}, "slow", 5, 3)
    assert row.recurrence == Cron("*/5 * * * *", timezone="Europe/Berlin").to_json()
    assert row.bounds["calendars"][0]["holidays"] == {"2027-12-25": "Christmas Day"}
    assert ScheduleVersion.objects.get().actor == str(ada.pk)
    assert row.next_at is not None
    assert decide_due(row.next_at) == 1
    # Unless it happens to be Sunday in Berlin.
    assert Occurrence.objects.get().decision in ("fired", "suppressed")


def test_an_edit_is_a_version_with_its_author_and_runs_nothing_that_was_due_before(ada: User, client: Client) -> None:
    row = define(now=timezone.now() - 3 * HOUR, origin="api", recurrence=Every(dt.timedelta(minutes=1)))
    assert send(client, change(row), kwargs='{"n": 4}', interval="2 min").status_code == 302
    row.refresh_from_db()
    assert (row.version, row.origin, row.kwargs) == (2, "api", {"n": 4})
    assert row.next_at is not None
    assert row.next_at > timezone.now() - dt.timedelta(seconds=5)
    assert ScheduleVersion.objects.get(version=2).actor == str(ada.pk)
    page = text_of(client.get(change(row)))
    assert 'kwargs: <code>{}</code> → <code>{ "n": 4 }</code>' in page
    assert "ada" in page


REFUSED = {
    "no name": ({"name": ""}, "name", "required"),
    "odd name": ({"name": "a\tb"}, "name", "printable"),
    "taken": ({"name": "taken"}, "name", "There is a schedule “taken” already"),
    "odd tenant": ({"tenant": "a\tb"}, "tenant", "cannot be stored"),
    "no task": ({"task": ""}, "task", "required"),
    "untracked": ({"task": "app.say_untracked", "kwargs": '{"word": "x"}'}, "task", "tracked=False"),
    "no JSON": ({"kwargs": "{n: 1}"}, "kwargs", "line 1, column 2"),
    "no object": ({"kwargs": "[1]"}, "kwargs", "must be an object"),
    "twice": ({"kwargs": '{"n": 1, "n": 2}'}, "kwargs", "“n” is there twice"),
    "NaN": ({"kwargs": '{"n": NaN}'}, "kwargs", "NaN is no number"),
    "deep": ({"args": "[" * 100_000}, "args", "This is no JSON to keep"),
    "unknown argument": ({"kwargs": '{"m": 1}'}, "kwargs", "unexpected keyword argument 'm'"),
    "too long": ({"kwargs": '{"n": "%s"}' % ("x" * 200_000)}, "kwargs", "the limit is"),
    "priority": ({"priority": "101"}, "priority", "100"),
    "no expression": ({"expression": ""}, "expression", "five fields"),
    "expression": ({"expression": "0 24 * * *"}, "expression", "Hour '24': 24 is out of range"),
    "never": ({"expression": "0 0 31 2 *"}, "expression", "never be due"),
    "zone": ({"timezone": "Europe/Berln"}, "timezone", "did you mean 'Europe/Berlin'"),
    "skipped each time": (
        {"expression": "30 2 28 3 *", "timezone": "Europe/Berlin", "gap": "sometimes"}, "gap", "sometimes",
    ),
    "interval": ({"kind": "every", "interval": "often"}, "interval", "write it like"),
    "no interval": ({"kind": "every"}, "interval", "Say how often"),
    "too short": ({"kind": "every", "interval": "0.5 s"}, "interval", "whole seconds"),
    "phase": ({"kind": "every", "interval": "5 min", "phase": "5 min"}, "phase", "less than the interval"),
    "at": ({"kind": "at", "at": "tomorrow"}, "at", "is no time"),
    "ambiguous": ({"kind": "at", "at": "2031-10-26 02:30"}, "at", "ambiguous"),
    "window": ({"window": "0.5 s"}, "window", "whole seconds"),
    "end": ({"start": "2031-01-02 00:00", "end": "2031-01-01 00:00"}, "end", "later than the end"),
    "days": ({"calendar_days": "2031-02-30"}, "calendar_days", "Line 1, “2031-02-30”"),
    "backwards": ({"calendar_days": "2031-02-03 .. 2031-02-01"}, "calendar_days", "runs backwards"),
    "name of nothing": ({"calendar_name": "Germany"}, "calendar_days", "Say which days"),
    "their zone": ({"calendar_days": "2031-02-03", "calendar_timezone": "Mars"}, "calendar_timezone", "no such zone"),
    "more": ({"more_calendars": '[{"days": []}]'}, "more_calendars", "'days' is not known"),
    "last": ({"catch_up": "last_n", "catch_up_count": "101"}, "catch_up_count", "100"),
    "for several": ({"audience": "each", "overlap": "buffer_one"}, "overlap", "has overlap allow or skip"),
    "by position": ({"audience": "each", "args": "[1]"}, "args", "takes kwargs, not args"),
    "for none": ({"audience": "these"}, "tenant_names", "at least one"),
    "very long": ({"spread": "999999999999 w"}, "spread", "longer than can be counted"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence_at_its_field(name: str) -> None:
    typed, field, sentence = REFUSED[name]
    define(name="taken")
    fine = {"name": "new", "task": "app.nothing", "expression": "0 3 * * *"}
    with timezone.override("Europe/Berlin"):
        said = {at: " ".join(sentences) for at, sentences in typed_into(**{**fine, **typed}).errors.items()}
    assert list(said) == [field], said
    assert sentence in said[field]


def test_the_page_shows_each_refusal_at_its_field_and_keeps_what_was_typed(ada: User, client: Client) -> None:
    response = send(client, ADD, name="new", task="app.nothing", expression="0 24 * * *", kwargs='{"m": 1}')
    assert set(said_at(response)) == {"expression", "kwargs"}
    page = text_of(response)
    assert "Hour '24': 24 is out of range" in page
    assert '{"m": 1}</textarea>' in page
    assert not Schedule.objects.exists()


def test_a_queue_that_is_not_declared_is_refused() -> None:
    with override_settings(TASKYARD={"QUEUES": ["celery", "low"]}):
        form = typed_into(name="new", task="app.nothing", expression="0 3 * * *", queue="lwo")
        assert "Known queues" in form.errors["queue"][0]


def test_a_task_that_only_others_know_is_saved_with_a_warning(ada: User, client: Client) -> None:
    page = text_of(client.get(ADD))
    assert '<option value="app.nothing">' in page
    assert "app.say_untracked" not in page
    send(client, ADD, name="new", task="elsewhere.count", kwargs='{"m": 1}', expression="0 3 * * *")
    assert Schedule.objects.get().task == "elsewhere.count"
    assert "No process here knows the task" in messages_of(client.get(LIST))


def test_who_was_slower_changes_nothing(ada: User, client: Client) -> None:
    row = define()
    page = client.get(change(row)).content.decode()
    define(kwargs={"n": 1})
    said = said_at(client.post(change(row), sent_by(page, "schedule_form", kwargs='{"n": 2}')))
    assert "Somebody has changed this schedule" in said["__all__"]
    assert Schedule.objects.get().kwargs == {"n": 1}


def test_an_edit_does_not_enable_what_somebody_disabled_meanwhile(ada: User, client: Client) -> None:
    row = define()
    page = client.get(change(row)).content.decode()
    row.disable()
    assert client.post(change(row), sent_by(page, "schedule_form", kwargs='{"n": 2}')).status_code == 302
    row.refresh_from_db()
    assert (row.enabled, row.next_at, row.kwargs) == (False, None, {"n": 2})
    assert send(client, change(row), enabled="on").status_code == 302
    row.refresh_from_db()
    assert row.enabled
    assert row.next_at is not None


def test_one_that_nobody_can_read_is_mended_here(ada: User, client: Client) -> None:
    row = define()
    Schedule.objects.filter(pk=row.pk).update(
        recurrence={"kind": "moon"}, bounds=[], error="it is the moon", next_at=None
    )
    page = text_of(client.get(change(row)))
    assert "it is the moon" in page
    assert "parked" in text_of(client.get(LIST))
    assert send(client, change(row), kind="every", interval="1 h").status_code == 302
    row.refresh_from_db()
    assert (row.error, row.recurrence) == ("", Every(HOUR).to_json())


# -- the preview -------------------------------------------------------------------------------------------------------


def preview(client: Client, **typed: Any) -> str:
    return " ".join(text_of(client.get(f"{LIST}preview/", typed)).split())


def test_the_preview_says_what_the_scheduler_will_do(ada: User, client: Client) -> None:
    typed = {"name": "new", "kind": "cron", "expression": "30 2 * * *", "timezone": "Europe/Berlin", "n": "7"}
    shown = preview(client, **typed)
    assert explain(NIGHTLY) in shown
    dues = NIGHTLY.next(7, timezone.now())
    assert [f"{due.at:%Y-%m-%d %H:%M}" in shown for due in dues] == [True] * 7
    for start, note in (
        ("2031-03-29 12:00", "clocks skip 02:30 that day: it runs at 03:00"),
        ("2031-10-25 12:00", "clocks show 02:30 twice that day: the first time"),
    ):
        assert note in preview(client, **typed, start=start)
    assert "the second time" in preview(client, **typed, start="2031-10-25 12:00", fold="last")
    weekdays = preview(client, **typed, calendar_weekdays=["SAT", "SUN"], window="10 min")
    assert not re.search(r"(Sat|Sun) 20", weekdays)
    row = define(name="new", recurrence=NIGHTLY, bounds=Bounds(window=dt.timedelta(minutes=10)))
    expected = row.preview(3, after=timezone.now())
    shown = preview(client, schedule=row.pk, **{**typed, "window": "10 min", "name": ""})
    assert [f"{due.at:%Y-%m-%d %H:%M}" in shown for due in expected] == [True] * 3
    # What is looked at is not written.
    assert Schedule.objects.get().version == 1


def test_the_preview_says_what_is_wrong_and_is_bounded(ada: User, client: Client) -> None:
    assert "Hour '24'" in preview(client, kind="cron", expression="0 24 * * *")
    assert preview(client, kind="cron", expression="* * * * *", n="9999").count("<tr") == 51
    assert preview(client, kind="cron", expression="* * * * *", n="no").count("<tr") == 6
    every_day = {"calendar_weekdays": ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]}
    assert "leave out all" in preview(client, kind="cron", expression="0 3 * * *", **every_day)
    assert "that time is over" in preview(client, kind="at", at="2001-01-01 00:00")
    row = define(bounds=Bounds(max_runs=2))
    Schedule.objects.filter(pk=row.pk).update(runs=2)
    assert "has run 2 times" in preview(client, schedule=row.pk, kind="every", interval="1 h", max_runs="2")


def test_without_javascript_a_button_shows_the_preview_and_saves_nothing(ada: User, client: Client) -> None:
    response = send(client, ADD, name="new", expression="30 2 * * *", timezone="Europe/Berlin", _preview="Preview")
    assert explain(NIGHTLY) in text_of(response)
    assert 'value="30 2 * * *"' in text_of(response)
    response = send(client, ADD, name="new", task="app.nothing", expression="0 3 * * *", _preview="Preview")
    assert "correct the error" not in text_of(response)
    assert not Schedule.objects.exists()


# -- what one may do ---------------------------------------------------------------------------------------------------


def test_run_now_asks_and_runs_once(ada: User, client: Client) -> None:
    row = define(kwargs={"n": 7})
    page = f"{LIST}{row.pk}/run/"
    assert "whatever the clock says" in text_of(client.get(page))
    assert not Job.objects.exists()
    shown = client.post(page, {"said": "yes"}, follow=True)
    job = Job.objects.get()
    assert str(job.id) in messages_of(shown)
    assert Occurrence.objects.get().actor == str(ada.pk)
    assert str(job.id) in text_of(shown)
    assert "skipped" in messages_of(client.post(page, {"said": "yes"}, follow=True))
    assert LogEntry.objects.count() == 2
    Schedule.objects.filter(pk=row.pk).update(task="elsewhere.count")
    assert "No task named" in messages_of(client.post(page, {"said": "yes"}, follow=True))


def test_a_pause_needs_a_reason_and_ends_when_it_is_said_to(ada: User, client: Client) -> None:
    row = define()
    page = f"{LIST}{row.pk}/pause/"
    assert "This field is required" in text_of(client.post(page, {"said": "yes"}))
    past = client.post(page, {"said": "yes", "reason": "fire", "until": "2001-01-01 00:00"})
    assert "a time to come" in text_of(past)
    shown = text_of(
        client.post(page, {"said": "yes", "reason": "the printer is on fire", "until": "2091-01-01 00:00"}, follow=True)
    )
    row.refresh_from_db()
    assert row.paused_until == dt.datetime(2091, 1, 1, tzinfo=dt.UTC)
    assert "the printer is on fire, until 2091-01-01 00:00:00" in shown
    assert decide_due(timezone.now() + HOUR) == 1
    assert "paused: the printer is on fire" in text_of(client.get(change(row)))
    client.post(f"{LIST}{row.pk}/resume/")
    row.refresh_from_db()
    assert row.paused_at is None


def test_enabling_disabling_and_resuming_are_posts(ada: User, client: Client) -> None:
    row = define()
    for verb in ("enable", "disable", "resume"):
        assert client.get(f"{LIST}{row.pk}/{verb}/").status_code == 405
    client.post(f"{LIST}{row.pk}/disable/")
    assert not Schedule.objects.get().enabled
    client.post(f"{LIST}{row.pk}/enable/")
    row.refresh_from_db()
    assert row.enabled
    assert row.next_at is not None
    assert client.post(f"{LIST}999999/enable/").status_code == 302


def test_the_same_for_those_that_are_chosen_in_the_list(ada: User, client: Client) -> None:
    rows = [define(name=f"tick {number}", overlap="allow") for number in range(12)]
    chosen = {"_selected_action": [row.pk for row in rows]}
    asked = client.post(LIST, {"action": "pause_chosen", **chosen})
    assert text_of(asked).count('name="_selected_action"') == 12
    assert not Schedule.objects.filter(paused_at__isnull=False).exists()
    done = client.post(LIST, {"action": "pause_chosen", "said": "yes", "reason": "deploy", **chosen}, follow=True)
    assert "done for 12 of 12" in messages_of(done)
    assert Schedule.objects.filter(pause_reason="deploy").count() == 12
    client.post(LIST, {"action": "resume_chosen", **chosen})
    assert not Schedule.objects.filter(paused_at__isnull=False).exists()
    client.post(LIST, {"action": "disable_chosen", **chosen})
    assert not Schedule.objects.filter(enabled=True).exists()
    client.post(LIST, {"action": "enable_chosen", **chosen})
    assert not Schedule.objects.filter(enabled=False).exists()
    client.post(LIST, {"action": "run_chosen", "said": "yes", **chosen})
    assert Job.objects.count() == 12


def test_a_deletion_does_not_read_what_was_decided(ada: User, client: Client) -> None:
    row = define(recurrence=Every(dt.timedelta(minutes=1)), now=timezone.now() - HOUR)
    decide_due(timezone.now())
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert "with its decisions" in text_of(client.get(f"{LIST}{row.pk}/delete/"))
    assert not [each for each in seen.captured_queries if "taskyard_occurrence" in each["sql"]]
    client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    assert (Schedule.objects.count(), Occurrence.objects.count(), ScheduleVersion.objects.count()) == (0, 0, 0)


# -- code --------------------------------------------------------------------------------------------------------------


def test_an_edit_of_one_that_stands_in_code_is_shown_as_drift(
    ada: User, client: Client, nothing_declared: None
) -> None:
    code.register("one", Every(HOUR), task=nothing)
    code.sync()
    row = Schedule.objects.get()
    assert "taskyard-drift" not in text_of(client.get(change(row)))
    shown = client.post(
        change(row), sent_by(client.get(change(row)).content.decode(), "schedule_form", kwargs='{"n": 9}'), follow=True
    )
    assert "puts it back" in messages_of(shown)
    row.refresh_from_db()
    assert (row.origin, row.kwargs) == ("code", {"n": 9})
    page = text_of(client.get(change(row)))
    assert "This was changed here" in page
    assert '<td><code>{ "n": 9 }</code></td><td><code>{}</code></td>' in page
    assert [each.kind for each in code.sync(adopt=True)] == ["adopt"]
    assert [each.kind for each in code.sync()] == ["revert"]
    code._declared.clear()
    assert "The code has this schedule no more" in text_of(client.get(change(row)))


# -- who may -----------------------------------------------------------------------------------------------------------


def test_who_may_only_look_sees_and_cannot_act(viewer: User, client: Client) -> None:
    row = define(recurrence=NIGHTLY, kwargs={"n": 7}, bounds=Bounds(max_runs=9))
    page = text_of(client.get(change(row)))
    assert explain(NIGHTLY) in page
    assert '"n": 7' in page
    assert '"max_runs": 9' in page
    assert "Run now" not in page
    assert "tick" in text_of(client.get(LIST))
    assert 'value="run_chosen"' not in text_of(client.get(LIST))
    assert client.get(ADD).status_code == 403
    assert client.post(change(row), {"name": "x"}).status_code == 403
    for verb in ("run", "pause", "resume", "enable", "disable"):
        assert client.post(f"{LIST}{row.pk}/{verb}/", {"said": "yes", "reason": "x"}).status_code == 403
    assert client.get(f"{LIST}preview/", {"kind": "every", "interval": "1 h"}).status_code == 403
    assert "Every hour" in preview(client, schedule=row.pk, kind="every", interval="1 h")
    client.post(LIST, {"action": "run_chosen", "said": "yes", "_selected_action": [row.pk]})
    assert not Job.objects.exists()
    assert client.get("/admin/taskyard/occurrence/").status_code == 403


def test_who_may_not_see_payload_is_not_shown_arguments_and_edits_nothing(client: Client) -> None:
    row = define(kwargs={"n": "xyzzy-1"})
    define(kwargs={"n": "xyzzy-2"})
    blind = User.objects.create_user("bea", is_staff=True)
    blind.user_permissions.set(Permission.objects.filter(codename__endswith="_schedule"))
    client.force_login(blind)
    page = text_of(client.get(change(row)))
    assert "xyzzy" not in page
    assert "kwargs: <code>…</code>" in page
    assert "Run now" in page and 'name="_save"' not in page
    assert client.post(change(row), {"kwargs": "{}"}).status_code == 403
    assert client.get(ADD).status_code == 403
    assert client.get("/admin/taskyard/scheduleversion/").status_code == 403
    assert client.post(f"{LIST}{row.pk}/disable/").status_code == 302
    assert not Schedule.objects.get(pk=row.pk).enabled


def test_what_is_done_here_stands_in_the_audit(ada: User, client: Client) -> None:
    row = define()
    client.post(f"{LIST}{row.pk}/pause/", {"said": "yes", "reason": "deploy"})
    send(client, change(row), kwargs='{"n": 4}')
    client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [(each.verb, each.target) for each in entries] == [(verb, "tick") for verb in ("pause", "define", "remove")]
    assert {(each.who, each.user, each.via, each.address) for each in entries} == {
        ("ada", str(ada.pk), "admin", "127.0.0.1")
    }
    assert (entries[0].reason, entries[0].after["paused"]) == ("deploy", True)


def test_staff_of_a_tenant_see_its_own_wherever_they_are(client: Client) -> None:
    with override_settings(TASKYARD={"TENANCY": "rows", "TENANT_OF_USER": lambda user: "acme"}):
        client.force_login(User.objects.create_superuser("ann"))
        own, other = define(tenant="acme", name="own"), define(tenant="globex", name="other")
        define(tenant="", name="everybodys", tenants="each")
        page = text_of(client.get(LIST))
        assert ("own" in page, "other" in page, "everybodys" in page) == (True, False, False)
        assert client.get(change(other)).status_code == 302
        assert client.get(f"{LIST}preview/", {"schedule": other.pk}).status_code == 403
        send(client, ADD, name="new", task="app.nothing", expression="0 3 * * *", tenant="globex", audience="each")
        new = Schedule.objects.get(name="new")
        assert (new.tenant, new.tenants) == ("acme", None)
        assert send(client, change(own), kwargs='{"n": 1}').status_code == 302


def test_who_may_nothing_sees_nothing(client: Client) -> None:
    row = define()
    pages = [LIST, ADD, change(row), f"{LIST}preview/?schedule={row.pk}", f"{LIST}{row.pk}/run/"]
    assert [client.get(page).status_code for page in pages] == [302] * 5
    client.force_login(User.objects.create_user("sam", is_staff=True))
    assert [client.get(page).status_code for page in pages] == [403] * 5


def test_within_a_tenant_there_are_only_its_own(ada: User, client: Client) -> None:
    with override_settings(TASKYARD={"TENANCY": "rows"}):
        own, other = define(tenant="acme", name="own"), define(tenant="globex", name="other")
        decide_due(timezone.now() + 2 * HOUR)
        with tenant_context("acme"):
            assert "other" not in text_of(client.get(LIST))
            assert client.get(change(other)).status_code == 302
            client.post(f"{LIST}{other.pk}/disable/")
            assert "globex" not in text_of(client.get("/admin/taskyard/occurrence/"))
            assert client.get(f"{LIST}preview/", {"schedule": other.pk}).status_code == 403
            send(client, ADD, name="new", task="app.nothing", expression="0 3 * * *", tenant="globex", audience="each")
            assert send(client, change(own), kwargs='{"n": 1}').status_code == 302
        assert Schedule.objects.get(pk=other.pk).enabled
        new = Schedule.objects.get(name="new")
        assert (new.tenant, new.tenants) == ("acme", None)


# -- lists -------------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_runs_and_why_the_others_do_not(ada: User, client: Client) -> None:
    define(name="runs", recurrence=NIGHTLY)
    define(name="stopped").disable()
    define(name="held").pause(reason="deploy")
    define(name="once", recurrence=At(dt.datetime(2001, 1, 1, tzinfo=dt.UTC)))
    broken = define(name="broken")
    Schedule.objects.filter(pk=broken.pk).update(error="it is the moon", next_at=None)
    define(name="theirs", tenant="acme")
    page = text_of(client.get(LIST))
    for words in ("At 02:30 every day, Europe/Berlin", "deploy", "it is the moon", "no further due time"):
        assert words in page
    found = {
        state: set(re.findall(r"/change/\?[^>]*>(\w+)<", text_of(client.get(LIST, {"state": state}))))
        for state in ("on", "paused", "disabled", "parked", "still")
    }
    assert found == {
        "on": {"runs", "theirs"}, "paused": {"held"}, "disabled": {"stopped"}, "parked": {"broken"},
        "still": {"stopped", "once", "broken"},
    }  # fmt: skip
    for asked, names in (
        ("r", {"runs"}),
        ("acme:", {"theirs"}),
        ("acme:th", {"theirs"}),
        ("acme:x", set()),
        ("%", set()),
    ):
        assert set(re.findall(r"/change/\?[^>]*>(\w+)<", text_of(client.get(LIST, {"q": asked})))) == names
    assert "theirs" in text_of(client.get(LIST, {"tenant": "acme"}))
    for order, first in (("1", "broken"), ("-1", "theirs")):
        assert re.findall(r"/change/[^>]*>(\w+)<", text_of(client.get(LIST, {"o": order})))[0] == first


def test_decisions_and_versions_are_read_and_not_changed(ada: User, client: Client) -> None:
    row = define(recurrence=Every(dt.timedelta(minutes=1)), now=timezone.now() - dt.timedelta(minutes=5))
    decide_due(timezone.now())
    listed = text_of(
        client.get("/admin/taskyard/occurrence/", {"schedule__id__exact": row.pk, "decision": "coalesced"})
    )
    assert "a later one runs in its place" in listed
    one = Occurrence.objects.all().first()
    assert one is not None
    assert client.get(f"/admin/taskyard/occurrence/{one.pk}/change/").status_code == 200
    assert client.post(f"/admin/taskyard/occurrence/{one.pk}/change/", {}).status_code == 403
    assert client.get("/admin/taskyard/occurrence/add/").status_code == 403
    version = ScheduleVersion.objects.get()
    assert '"seconds": 60' in text_of(client.get(f"/admin/taskyard/scheduleversion/{version.pk}/change/"))
    assert "tick" in text_of(client.get("/admin/taskyard/scheduleversion/"))


def test_nothing_that_is_stored_becomes_markup(ada: User, client: Client) -> None:
    bad = "<img src=x onerror=alert(1)>"
    row = define(name=bad, tenant=bad, description=bad, kwargs={"n": bad}, queue=bad, subject=("app.note", bad), by=bad)
    row.pause(reason=bad, by=bad)
    decide_due(timezone.now() + HOUR)
    define(name=bad, tenant=bad, kwargs={"n": f"{bad}2"}, by=bad)
    Schedule.objects.filter(pk=row.pk).update(error=bad)
    pages = [LIST, change(row), f"{LIST}{row.pk}/run/", f"{LIST}{row.pk}/pause/", f"{LIST}{row.pk}/delete/",
             "/admin/taskyard/occurrence/", "/admin/taskyard/scheduleversion/",
             f"{LIST}preview/?kind=every&interval={bad}"]  # fmt: skip
    for page in pages:
        shown = client.get(page).content.decode()
        assert "<img src=x" not in shown
        assert "onerror" in shown
