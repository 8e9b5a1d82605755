"""The admin of tenants and of the API's tokens, as their pages are used."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from django.utils import timezone

from taskyard.errors import TenantNotReady
from taskyard.jobs.pages import tenants
from taskyard.models import ApiToken, AuditEntry, TenantSetting
from taskyard.operations import Actor, tokens
from tests.integration.shelf import put
from tests.integration.test_admin_pages import answer, make_failed, text_of

pytestmark = pytest.mark.django_db

PAGE = "/admin/taskyard/tenantsetting/"
TOKENS = "/admin/taskyard/apitoken/"


@pytest.fixture(autouse=True)
def ada(client: Client) -> User:
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return user


def listed(name: str | None = None) -> Any:
    """For ``TENANTS``: sixty that are ready, and one that is being made."""
    ready = [f"t{number:02}" for number in range(60)]
    if name is None:
        return iter([*ready, TenantNotReady("zeta", "it is being made")])
    return name if name in ready else None


@pytest.fixture
def tenancy() -> Iterator[None]:
    with override_settings(TASKYARD={"TENANCY": "rows", "TENANTS": listed}):
        yield


def rows_of(response: Any) -> dict[str, Any]:
    assert response.status_code == 200
    return {row.pk: row.glance for row in response.context["cl"].result_list}


def test_tenants_are_shown_with_what_they_have_to_do_and_lead_to_their_jobs_and_failures(client: Client) -> None:
    now = timezone.now()
    put(now, tenant="acme")
    put(now, tenant="acme", queue="low", priority=5)
    put(now, tenant="acme", available_at=now + dt.timedelta(hours=1), due=False)
    put(now, tenant="acme", state="running", started_at=now)
    put(now)
    make_failed(now, tenant="globex")
    response = client.get(PAGE)
    rows = rows_of(response)
    assert {name: (each.work.waiting, each.work.running, each.failed) for name, each in rows.items()} == {
        "acme": (3, 1, 0), "globex": (0, 0, 1),
    }  # fmt: skip
    page = response.content.decode()
    assert 'href="/admin/taskyard/job/?tenant=acme"' in page
    assert 'href="/admin/taskyard/failuregroup/?tenant=globex"' in page
    assert len(client.get("/admin/taskyard/failuregroup/?tenant=globex").context["cl"].result_list) == 1
    assert not client.get("/admin/taskyard/failuregroup/?tenant=acme").context["cl"].result_list


def test_without_tenants_and_labels_the_page_says_so(client: Client) -> None:
    assert "This project sets no TENANCY" in text_of(client.get(PAGE))


def test_a_tenant_is_paused_limited_resumed_and_each_is_in_the_audit(client: Client) -> None:
    put(timezone.now(), tenant="a/b")
    assert "This field is required" in text_of(answer(client, f"{PAGE}pause/a/b/", reason=""))
    assert "Tenant a/b is paused." in text_of(answer(client, f"{PAGE}pause/a/b/", reason="runaway import"))
    said = text_of(client.get(PAGE))
    assert "‖ paused" in said
    assert "by ada: runaway import" in said
    answer(client, f"{PAGE}limit/a/b/", weight="2.5", max_running="3", rate="10", per="1 min")
    assert "weight 2.5, at most 3 at a time, 10 starts in 1 min" in text_of(client.get(PAGE))
    refused = answer(client, f"{PAGE}limit/a/b/", weight="0")
    assert refused.status_code == 409
    assert (
        set(rows_of(client.get(f"{PAGE}?only=paused"))) == set(rows_of(client.get(f"{PAGE}?only=limited"))) == {"a/b"}
    )
    answer(client, f"{PAGE}resume/a/b/")
    answer(client, f"{PAGE}limit/a/b/", weight="", max_running="", rate="", per="")
    setting = TenantSetting.objects.get()
    assert (setting.paused_at, setting.weight, setting.max_running, setting.rate) == (None, 1.0, None, None)
    entries = AuditEntry.objects.order_by("id").values_list("verb", "tenant", "who", "via")
    assert list(entries) == [(verb, "a/b", "ada", "admin") for verb in ("pause", "limit", "resume", "limit")]
    for only in ("paused", "limited"):
        assert not rows_of(client.get(f"{PAGE}?only={only}"))


@pytest.mark.usefixtures("tenancy")
def test_tenants_that_the_project_lists_come_by_name_page_by_page_and_say_whether_they_are_ready(
    client: Client,
) -> None:
    put(timezone.now(), tenant="gone")
    first = client.get(PAGE)
    rows = rows_of(first)
    assert list(rows) == ["gone", *(f"t{number:02}" for number in range(49))]
    assert (rows["gone"].state, rows["t00"].state) == ("unknown", "ready")
    second = rows_of(client.get(f"{PAGE}{first.context['cl'].next_at}"))
    assert list(second) == [*(f"t{number:02}" for number in range(49, 60)), "zeta"]
    assert (second["zeta"].state, second["zeta"].why_not) == ("not ready", "it is being made")
    assert list(rows_of(client.get(f"{PAGE}?q=t5"))) == [f"t{number}" for number in range(50, 60)]
    assert list(rows_of(client.get(f"{PAGE}?only=work"))) == ["gone"]


@pytest.mark.usefixtures("tenancy")
def test_a_tenant_that_nobody_knows_is_not_found(client: Client) -> None:
    for verb in ("pause", "resume", "limit"):
        assert client.get(f"{PAGE}{verb}/nonesuch/").status_code == 404
        assert client.post(f"{PAGE}{verb}/nonesuch/", {"said": "yes", "reason": "x"}).status_code == 404
    assert not TenantSetting.objects.exists()


def test_names_and_counts_are_looked_at_so_far_and_the_page_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = timezone.now()
    for number in range(12):
        put(now, tenant=f"t{number:02}")
    for _ in range(4):
        put(now, tenant="t03")
    monkeypatch.setattr(tenants, "MOST_COUNTED", 3)
    # More than one statement of each kind.
    monkeypatch.setattr(tenants, "_NAMES_AT_ONCE", 5)
    monkeypatch.setattr(tenants, "_UNION_PARTS", 5)
    found = rows_of(client.get(PAGE))
    assert {name: each.work.waiting for name, each in found.items()} == {
        **{f"t{number:02}": 1 for number in range(12)}, "t03": 4,
    }  # fmt: skip
    assert not client.get(PAGE).context["cl"].is_short
    monkeypatch.setattr(tenants, "_MOST_NAMED", 7)
    monkeypatch.setattr(tenants, "_FEWEST", 1)
    short = client.get(PAGE)
    assert {name: each.work.waiting for name, each in rows_of(short).items()} == {
        **{f"t{number:02}": 1 for number in range(7)}, "t03": 4,
    }  # fmt: skip
    assert "some may be missing here" in text_of(short)
    # What is looked for is found all the same, and so is what comes behind.
    assert set(rows_of(client.get(f"{PAGE}?q=t1"))) == {"t10", "t11"}
    assert set(rows_of(client.get(f"{PAGE}?after=t08"))) == {"t09", "t10", "t11"}


def test_people_of_a_tenant_see_theirs_alone_and_say_nothing_of_it(client: Client) -> None:
    now = timezone.now()
    put(now, tenant="acme")
    put(now, tenant="globex")
    TenantSetting.objects.limit("acme", weight=7.0)
    user = User.objects.create_user("acme-ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskyard"))
    client.force_login(user)
    with override_settings(TASKYARD={"TENANT_OF_USER": lambda user: "acme"}):
        for asked in ("", "?q=globex", "?only=work", "?after=a"):
            assert set(rows_of(client.get(PAGE + asked))) <= {"acme"}
        said = text_of(client.get(PAGE))
        assert "globex" not in said
        assert "weight" not in said
        assert client.get(f"{PAGE}limit/acme/").status_code == 403


def test_a_token_is_revoked_after_a_question_and_opens_nothing_from_then_on(client: Client) -> None:
    secret = tokens.create(Actor.system("boot"), "reports", scopes=["read"]).secret
    row = ApiToken.objects.get()
    said = text_of(client.get(TOKENS))
    for words in ("reports", row.prefix, "✓ good", "read", "all tenants", "by boot"):
        assert words in said, (words, said)
    assert secret not in said
    assert row.digest not in client.get(TOKENS).content.decode()
    program = Client(headers={"Authorization": f"Bearer {secret}"})
    assert program.get("/taskyard/api/v1/jobs").status_code == 200
    page = f"{TOKENS}{row.pk}/revoke/"
    assert "This field is required" in text_of(answer(client, page, reason=""))
    done = answer(client, page, reason="it was in a log")
    assert f"Token reports ({row.prefix}) opens nothing any more." in text_of(done)
    assert program.get("/taskyard/api/v1/jobs").status_code == 401
    entry = AuditEntry.objects.get(verb="revoke")
    assert (entry.kind, entry.target, entry.reason, entry.via) == ("apitoken", row.prefix, "it was in a log", "admin")
    assert "✗ revoked" in text_of(client.get(TOKENS))
    assert "Revoke" not in client.get(TOKENS).content.decode()
    assert client.get(f"{TOKENS}{row.pk + 1}/revoke/").status_code == 404


def test_tokens_are_searched_by_their_shown_part_or_name_and_come_in_pages(client: Client) -> None:
    rows = [tokens.create(Actor.system(), f"robot {number:02}", scopes=["read"]).row for number in range(52)]
    first = client.get(TOKENS).context["cl"]
    second = client.get(f"{TOKENS}{first.next_at}").context["cl"]
    assert [row.pk for row in [*first.result_list, *second.result_list]] == [row.pk for row in reversed(rows)]
    for asked, wanted in ((rows[7].prefix, rows[7:8]), ("robot 5", rows[:49:-1])):
        found = client.get(TOKENS, {"q": asked}).context["cl"].result_list
        assert [row.pk for row in found] == [row.pk for row in wanted]
