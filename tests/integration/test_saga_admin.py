"""The admin of sagas, as its pages are used: what they show, what they offer, what becomes of what is sent."""

import datetime as dt
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.utils import timezone

from taskyard.jobs.models import Job
from taskyard.models import AuditEntry, Saga, SagaSignal, SagaStep
from taskyard.operations import Actor, sagas
from tests.app.shown import Onboarding
from tests.integration.saga_play import Act, Play
from tests.integration.shelf import put
from tests.integration.test_admin_pages import answer, rows_of, text_of

pytestmark = pytest.mark.django_db

SAGAS = "/admin/taskyard/saga/"
CARD = "4000 1234 5678"
ZOE = Actor.system("zoe", via="test")
GIVES_UP = [Act(0.5, raises=True)]


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return user


def play(acts: Any = None, *, ago: float = 3_600, **about: Any) -> Play:
    begun = timezone.now() - dt.timedelta(seconds=ago)
    told = {"inputs": {"name": "Ada Ltd", "card": CARD}, "created_by": "zoe", **about}
    return Play(Onboarding, begun, acts or {}, **told)


def waiting(**about: Any) -> Play:
    """It waits for the signal."""
    return play({"customer": [Act(0.4, result={"token": CARD, "id": 4711})]}, **about).go_on()


def compensated(**about: Any) -> Play:
    return play({"charge": [Act(1, raises=True, wait=5), *GIVES_UP]}, **about).go_on()


def stuck(**about: Any) -> Play:
    """The compensation of one of a group gave up."""
    return play({"charge": list(GIVES_UP), "-file_store": [Act(1, raises=True, wait=2), *GIVES_UP]}, **about).go_on()


def page(run: Play, verb: str = "change", step: str = "") -> str:
    return f"{SAGAS}{run.id}/{verb}/{f'{step}/' if step else ''}"


def somebody(client: Client, *codenames: str, name: str = "all-bob") -> None:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames, content_type__app_label="taskyard"))
    client.force_login(user)


def verbs_on(html: str) -> set[str]:
    """The addresses of what is offered, behind the saga's own."""
    return set(re.findall(rf'href="{SAGAS}[0-9a-f-]+/((?!change)[a-z_/]+)/"', html))


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_says_how_each_stands_and_what_needs_attention_is_one_click_away(client: Client, ada: User) -> None:
    assert "Nothing yet." in text_of(client.get(SAGAS))
    waiting(tenant="acme")
    trouble = stuck()
    compensated(subject_type="app.note", subject_id="7")
    said = text_of(client.get(SAGAS))
    for words in ("1 needs attention , the oldest since", "Show it", "! needs attention", "… waiting", "↩ compensated",
                  "CardNetworkDown: no route to the card network", "app.note:7", "acme"):  # fmt: skip
        assert words in said, (words, said)
    assert rows_of(client.get(f"{SAGAS}?state=needs_attention")) == [trouble.id]
    assert "Show it" not in text_of(client.get(f"{SAGAS}?state=needs_attention"))


FILTERED = {
    "state=waiting": {"waits"}, "state=unended": {"waits", "stuck"}, "state=compensated": {"old"},
    "age=day": {"waits", "stuck"}, "tenant=acme": {"waits"}, "name=onboarding": {"waits", "stuck", "old"},
    "name=order": set(), "q=onboarding": {"waits", "stuck", "old"}, "q=nobody": set(), "q=app.note:7": {"stuck"},
    "state=needs_attention&q=app.note:7": {"stuck"}, "state=waiting&q=app.note:7": set(),
}  # fmt: skip


def test_the_list_is_narrowed_by_its_filters_and_the_search(client: Client, ada: User) -> None:
    runs = {
        "waits": waiting(tenant="acme"), "stuck": stuck(subject_type="app.note", subject_id="7"),
        "old": compensated(ago=3 * 86_400),
    }  # fmt: skip
    for asked, names in FILTERED.items():
        assert set(rows_of(client.get(f"{SAGAS}?{asked}"))) == {runs[name].id for name in names}, asked
    step = SagaStep.objects.get(saga=runs["waits"].id, name="database")
    coordinator = Job.objects.filter(subject_id=str(runs["old"].id), task="saga.onboarding").first()
    assert coordinator is not None
    for asked, run in ((runs["old"].id, "old"), (step.job, "waits"), (coordinator.id, "old")):
        assert rows_of(client.get(SAGAS, {"q": str(asked)})) == [runs[run].id]
    for asked in (uuid.uuid4(), put(timezone.now()).id):
        assert rows_of(client.get(SAGAS, {"q": str(asked)})) == []
    assert client.get(f"{SAGAS}?inputs__contains=4000").status_code == 400


def test_pages_go_on_where_the_one_before_ended(client: Client, ada: User) -> None:
    runs = [play(ago=number // 3).id for number in range(120)]
    seen, address = [], SAGAS
    while address:
        response = client.get(address)
        seen += rows_of(response)
        play(ago=0)
        following = response.context["cl"].next_at
        address = f"{SAGAS}{following}" if following else ""
    assert (len(seen), set(seen)) == (120, set(runs))


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_of_one_says_why_it_waits_first_and_then_everything(client: Client, ada: User) -> None:
    run = waiting(tenant="acme")
    sagas.signal(ZOE, run.id, "approved", {"by": "max"}, key="k1")
    response = client.get(page(run))
    said = text_of(response)
    assert said.index("Look again") < said.index("Timeline") < said.index("What came of it") < said.index("History")
    for words in ("onboarding", "group places", "waits for a signal", "◆ the pivot", '"id": 4711', "by\": \"max",
                  "k1", "signalled", "zoe", "acme", "all its jobs", "takes name"):  # fmt: skip
        assert words in said, (words, said)
    html = response.content.decode()
    assert CARD not in html and "[redacted]" in html
    step = SagaStep.objects.get(saga=run.id, name="database")
    assert f'href="/admin/taskyard/job/{step.job}/change/"' in html
    assert (
        client.get(f"{SAGAS}nonsense/change/").status_code == client.get(f"{SAGAS}{uuid.uuid4()}/change/").status_code
    )


def test_one_that_waits_for_a_signal_says_so_large(client: Client, ada: User) -> None:
    html = client.get(page(waiting())).content.decode()
    (why,) = re.findall(r'<p class="taskyard-why">(.*?) <a href="">Look again</a></p>', html)
    assert why.startswith("Waits for signal &#x27;approved&#x27; since ")
    html = client.get(page(stuck())).content.decode()
    assert "Needs attention: compensation of &#x27;file_store&#x27; gave up after 2 attempts" in html
    assert "Traceback (most recent call last)" in html
    ended = client.get(page(compensated())).content.decode()
    assert "Compensated: what was done is undone (shop.CardNetworkDown: no route" in ended
    assert "Look again" not in ended


def test_the_timeline_is_drawn_without_styles_and_scripts_and_told_in_words(client: Client, ada: User) -> None:
    html = client.get(page(stuck())).content.decode()
    (chart,) = re.findall(r'<svg class="taskyard-chart".*?</svg>', html, re.DOTALL)
    assert 'role="img"' in chart and 'aria-describedby="taskyard-timeline-text"' in chart
    (told,) = re.findall(r'<desc id="taskyard-timeline-text">(.*?)</desc>', chart)
    assert "customer: ran 100 ms, succeeded." in told
    assert "charge: ran 500 ms, failed." in told and "welcome: pending." in told
    assert "an attempt of 1.0 s, retrying; waited 2.0 s; was undone 500 ms, compensation failed." in told
    assert not re.search(r"style=|<style|<script|\son\w+=", chart)
    for kind in ("forward", "waiting", "compensation", "lost", "failed"):
        assert f'class="taskyard-bar-{kind}"' in chart, kind
    assert "◆ no way back from here on" in chart
    # Of a compensation, an attempt that was lost as well.
    assert len(re.findall(r'fill="url\(#taskyard-back\)"', chart)) == 3
    (names,) = re.findall(r'<svg class="taskyard-names".*?</svg>', html, re.DOTALL)
    assert "at once: places" in names
    (legend,) = re.findall(r'<ul class="taskyard-legend">.*?</ul>', html, re.DOTALL)
    assert all(words in legend for words in ("ran", "waited", "was undone", "gave up", "the pivot"))


def test_every_bar_lies_within_the_picture(client: Client, ada: User) -> None:
    for run in (waiting(ago=1), stuck(), compensated(), play(ago=0), waiting(ago=30 * 86_400)):
        html = client.get(page(run)).content.decode()
        for x, width in re.findall(r'<rect class="taskyard-bar-\w+" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', html):
            assert float(width) > 0 and float(x) >= 0 and float(x) + float(width) <= 98.2


def test_whoever_may_not_see_payload_sees_what_happened_without_it(client: Client) -> None:
    run = stuck(inputs={"name": "xyzzy"})
    SagaSignal.objects.create(saga=run.id, name="approved", payload="xyzzy", received_at=timezone.now())
    SagaStep.objects.filter(saga=run.id, name="customer").update(result="xyzzy")
    somebody(client, "view_saga")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: None}):
        said = text_of(client.get(page(run)))
        assert "compensation of 'file_store' gave up" in said and "CardNetworkDown" in said
        for hidden in ("xyzzy", "no route to the card", "Traceback", "Inputs"):
            assert hidden not in said + text_of(client.get(SAGAS)), hidden
        assert f"/job/{SagaStep.objects.get(saga=run.id, name='database').job}" not in said


def test_a_tenants_people_see_its_own_alone(client: Client) -> None:
    own, other = waiting(tenant="acme"), stuck(tenant="globex")
    somebody(client, "view_saga", "view_job", "cancel_saga")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        response = client.get(SAGAS)
        assert rows_of(response) == [own.id]
        assert response.context["stuck"].count == 0
        for at in (page(other), page(other, "cancel"), f"{SAGAS}?tenant=globex"):
            assert client.get(at).status_code == 404, at
        step = SagaStep.objects.get(saga=other.id, name="database")
        for asked in (other.id, step.job):
            assert rows_of(client.get(SAGAS, {"q": str(asked)})) == []


def test_nobody_without_permission_sees_any(client: Client) -> None:
    run = waiting()
    somebody(client, "view_job")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: None}):
        assert [client.get(at).status_code for at in (SAGAS, page(run), page(run, "cancel"))] == [403, 403, 403]


# -- jobs and sagas ----------------------------------------------------------------------------------------------------


def test_the_page_of_a_job_names_its_saga_and_the_sagas_page_links_its_jobs(client: Client, ada: User) -> None:
    run = waiting()
    job = SagaStep.objects.get(saga=run.id, name="database").job
    html = client.get(f"/admin/taskyard/job/{job}/change/").content.decode()
    assert f'<dt>Saga</dt><dd><a href="{page(run)}">onboarding {run.id}</a>' in html
    assert f'href="/admin/taskyard/job/?q=taskyard.saga%3A{run.id}"' in client.get(page(run)).content.decode()
    its_jobs = rows_of(client.get("/admin/taskyard/job/", {"q": f"taskyard.saga:{run.id}"}))
    assert job in its_jobs and len(its_jobs) > 2
    Saga.objects.filter(id=run.id).delete()
    said = text_of(client.get(f"/admin/taskyard/job/{job}/change/"))
    assert f"Saga {run.id} · its jobs" in said


# -- verbs -------------------------------------------------------------------------------------------------------------

OFFERED = {
    "new": {"compensate", "cancel", "signal", *(f"skip_step/{step}" for step in Onboarding.definition.plan.by_name)},
    "waits": {"compensate", "cancel", "signal", "skip_step/approved", "skip_step/activate", "skip_step/welcome"},
    "compensated": {"fork"},
    "stuck": {"resume", "compensate", "cancel", "signal", "fork", "retry_step/file_store", "skip_step/file_store"},
}  # fmt: skip


def test_what_fits_is_offered_and_nothing_else(client: Client, ada: User) -> None:
    runs = {"new": play(), "waits": waiting(), "compensated": compensated(), "stuck": stuck()}
    for name, run in runs.items():
        assert verbs_on(client.get(page(run)).content.decode()) == OFFERED[name], name
    sagas.cancel(ZOE, runs["new"].id)
    somebody(client, "view_saga", "retry_saga")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: None}):
        assert verbs_on(client.get(page(runs["stuck"])).content.decode()) == {"resume", "retry_step/file_store"}
        assert verbs_on(client.get(page(runs["waits"])).content.decode()) == set()


def test_one_that_is_past_its_pivot_is_offered_no_way_back(client: Client, ada: User) -> None:
    run = play({"welcome": [*GIVES_UP, Act()]}).go_on()
    sagas.signal(ZOE, run.id, "approved")
    run.go_on()
    assert run.row.state == "needs_attention"
    offered = verbs_on(client.get(page(run)).content.decode())
    assert offered == {"resume", "signal", "fork", "retry_step/welcome", "skip_step/welcome"}
    said = text_of(answer(client, page(run, "retry_step", "welcome"), reason="it is up again"))
    assert "Step 'welcome' is tried again." in said
    assert run.go_on().row.state == "completed"
    assert verbs_on(client.get(page(run)).content.decode()) == {"fork"}


def test_a_step_is_skipped_with_a_reason_alone(client: Client, ada: User) -> None:
    run = stuck()
    at = page(run, "skip_step", "file_store")
    assert "Skip the compensation of 'file_store'" in text_of(client.get(at))
    assert "This field is required" in text_of(answer(client, at))
    said = text_of(answer(client, at, reason="emptied by hand"))
    assert "The compensation of 'file_store' is skipped." in said and "because emptied by hand" in said
    assert AuditEntry.objects.get().reason == "emptied by hand"
    assert run.go_on().row.state == "compensated"
    assert client.get(page(run, "skip_step", "nowhere")).status_code == 404


def test_one_that_is_compensated_resumed_or_cancelled_says_beforehand_what_follows(client: Client, ada: User) -> None:
    run = stuck()
    said = text_of(client.get(page(run, "resume")))
    assert "Done once more, as it was undone: database." in said
    assert "Not run again, as its effect stands: file_store." in said
    said = text_of(client.get(page(run, "compensate")))
    assert "To be undone: file_store, customer." in said
    assert "It goes on forward." in text_of(answer(client, page(run, "resume"), reason="the network is back"))
    assert "asked to resume" in text_of(client.get(page(run)))
    assert run.row.state == "running"
    other = waiting()
    answer(client, page(other, "cancel"), reason="changed their mind")
    assert other.row.state == "compensating"
    assert other.go_on().row.state == "cancelled"
    assert set(AuditEntry.objects.values_list("verb", "who")) == {("resume", "ada"), ("cancel", "ada")}
    third = waiting()
    answer(client, page(third, "compensate"))
    assert third.go_on().row.state == "compensated"


def test_what_is_refused_is_said_as_a_sentence_and_changes_nothing(client: Client, ada: User) -> None:
    run = compensated()
    revision = run.row.revision
    for verb, step, words in (
        ("cancel", "", "it is compensated"), ("resume", "", "only what needs attention is resumed"),
        ("retry_step", "charge", "failed, and the saga, which is compensated, went on from that"),
        ("signal", "", "it is compensated"),
    ):  # fmt: skip
        response = answer(client, page(run, verb, step), reason="x")
        assert response.status_code == 409, verb
        assert words in response.content.decode().replace("&#x27;", "'"), verb
    response = answer(client, page(waiting(), "fork"), reason="x")
    assert "it is waiting: cancel it, or wait until it has ended" in response.content.decode()
    assert (run.row.revision, AuditEntry.objects.count()) == (revision, 0)


def test_a_signal_carries_json_and_bad_json_gets_a_sentence(client: Client, ada: User) -> None:
    run = waiting()
    at = page(run, "signal")
    said = text_of(answer(client, at, payload='{"by": zoe}'))
    assert "This is no JSON: Expecting value, at line 1, column 8." in said
    assert not SagaSignal.objects.exists()
    said = text_of(answer(client, at, payload='{"by": "zoe"}', key="k1", reason="she called"))
    assert "It was told “approved”." in said
    assert SagaSignal.objects.get().payload == {"by": "zoe"}
    assert "It was told that already: the key is the same." in text_of(answer(client, at, key="k1"))
    assert SagaSignal.objects.count() == 1
    other = waiting()
    answer(client, page(other, "signal"), payload="[1, 2]")
    answer(client, page(other, "signal"))
    assert list(SagaSignal.objects.filter(saga=other.id).order_by("id").values_list("payload", flat=True)) == [
        [1, 2], None,
    ]  # fmt: skip


def test_a_fork_begins_at_a_step_with_the_inputs_that_were_typed(client: Client, ada: User) -> None:
    run = play()
    run.go_on()
    sagas.cancel(ZOE, run.id)
    run.go_on()
    assert choices(client, run) == ["customer"]
    done = waiting()
    sagas.signal(ZOE, done.id, "approved")
    assert done.go_on().row.state == "completed"
    assert choices(client, done) == list(Onboarding.definition.plan.by_name)
    typed = '{"name": "Bob Ltd", "card": "[redacted]"}'
    response = answer(client, page(done, "fork"), step="charge", inputs=typed, reason="another name")
    assert "This is the new saga: it begins at 'charge'." in text_of(response)
    new = Saga.objects.get(forked_from=done.id)
    assert new.inputs == {"name": "Bob Ltd", "card": CARD}
    assert "taken over" in text_of(client.get(f"{SAGAS}{new.id}/change/"))
    response = answer(client, page(done, "fork"), step="charge", inputs='{"colour": "red"}')
    assert response.status_code == 409 and "colour" in response.content.decode()
    answer(client, page(done, "fork"), step="welcome")
    assert Saga.objects.filter(forked_from=done.id).latest("created_at").inputs == done.row.inputs


def choices(client: Client, run: Play) -> list[str]:
    html = client.get(page(run, "fork")).content.decode()
    return re.findall(r'<option value="(\w+)"', html)


def test_whoever_may_not_see_payload_forks_without_inputs(client: Client) -> None:
    run = stuck()
    somebody(client, "view_saga", "fork_saga")
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: None}):
        assert "Inputs" not in text_of(client.get(page(run, "fork")))
        answer(client, page(run, "fork"), step="customer")
    assert Saga.objects.get(forked_from=run.id).inputs == run.row.inputs
