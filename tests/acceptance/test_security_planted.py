"""Twenty forms of secrets, in what tasks raise, report and return: in no text that is stored, logged or shown."""

import base64
import contextlib
import datetime as dt
import json
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.db import connections, models
from django.test import Client, override_settings

from taskyard.jobs.queries import JobFilter
from taskyard.jobs.redaction import PAYLOAD, REDACTED
from taskyard.models import Failure, FailureGroup, Job
from taskyard.operations import Actor, failures, jobs, queues, schedules, tenants, tokens
from taskyard.operations.bulk import order
from taskyard.runtime.fields import JsonTextField
from taskyard.schedules import Every
from taskyard.schedules.backfill import Wish
from tests.app.spills import FORMS, Spilt, blurts
from tests.integration.shelf import register
from tests.walk import Walk, unanswered
from tests.workers import Project, wait_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

#: What a secret begins with, as it stands and in base 64; and one that is a number.
CANARIES = ("Canary", base64.b64encode(b"Canary").decode(), "7351902468")
#: Arguments that are secrets, by what makes them so.
GIVEN = {
    "task": 'with Batch.open("spilt") as batch: batch.enqueue(blurts, word="CanaryWord")',
    "setting": 'blurts.using(unique_key="token=CanaryUnique").enqueue("harmless", answer="CanaryAnswer")',
    "nested": 'blurts.enqueue("harmless", login={"user": "bob", "password": "CanaryNested \'quoted\'"})',
    "number": 'blurts.enqueue("harmless", pin=7351902468)',
    "celery": 'plainly.delay("bob", "CanaryPlain")',
}
#: Columns that hold what was given as it was given (docs/failures.md); all others are safe to be read.
GIVEN_COLUMNS = {
    "job": PAYLOAD, "message": ("body",), "canvas": ("body",), "outboxmessage": ("payload",),
    "schedule": ("args", "kwargs"), "scheduleversion": ("definition",), "saga": ("inputs", "result"),
    "sagastep": ("result",), "sagasignal": ("payload",),
}  # fmt: skip


def texts() -> Iterator[tuple[str, str]]:
    """Every value of every column that is safe to be read."""
    for model in apps.get_app_config("taskyard").get_models():
        hidden = GIVEN_COLUMNS.get(model._meta.model_name or "", ())
        columns = [f for f in model._meta.concrete_fields if f.attname not in hidden]
        names = [f.attname for f in columns if isinstance(f, (models.CharField, models.TextField, JsonTextField))]
        for row in model._base_manager.using("default").values(*names) if names else ():
            yield from ((f"{model._meta.model_name}.{name}", str(value)) for name, value in row.items())


def found(where: str, text: str) -> list[str]:
    places = [(canary, text.find(canary)) for canary in CANARIES if canary in text]
    return [f"{where}: …{text[max(0, at - 80) : at + 40]}…" for _, at in places]


#: What an operator says, with a secret in it.
SAID = "the server is back, password=CanarySaid"


@pytest.mark.timeout(600)
def test_planted_secrets_are_in_no_stored_text_no_log_no_command_and_no_page(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(FORMS) + len(GIVEN) == 20
    log = plant(project)

    assert Job.objects.filter(state="failed").count() == Failure.objects.count() == 20
    assert Job.objects.filter(state="succeeded").count() == len(FORMS)
    # They were there, and what stands beside them still is.
    assert CANARIES[0] in repr(list(Job.objects.values("result")))
    assert "is refused" in log and "raised unexpected" in log and "succeeded in" in log
    said = by_commands(project)
    assert said.count("is refused") > 5
    with override_settings(TASKYARD=project.taskyard):
        operate()
        pages = list(shown())
    stored = list(texts())
    assert sum(REDACTED in text for _, text in stored) > 100
    told = [leak for where, text in [*stored, *pages] for leak in found(where, text)]
    told += found("log", log) + found("commands", said) + found("log of the pages", caplog.text)
    assert not told, "\n".join(told)


def plant(project: Project) -> str:
    """Let jobs spill them all; the log of the worker."""
    project.taskyard = {"SENSITIVE": ["answer"]}
    worker = project.start_worker("-c", "2", "-E", "-l", "debug")
    project.run_python(
        "from taskyard import Batch\n"
        "from tests.app.spills import *\n"
        "for form in FORMS:\n"
        "    by_form.enqueue(form, 'seed'), returns.enqueue(form, 'seed')\n" + "\n".join(GIVEN.values())
    )
    wait_until_idle(60)
    worker.stop()
    return worker.output()


def by_commands(project: Project) -> str:
    """What they print."""
    ids = [str(one) for one in Job.objects.values_list("id", flat=True)]
    groups = list(FailureGroup.objects.values_list("pk", flat=True))
    lists = [["jobs", "list", "--limit", "99"], ["failures", "list", "--limit", "99"], ["doctor"], ["status"]]
    words = [[*one, *more] for one in lists for more in ([], ["--json"])]
    words += [["jobs", "show", one] for one in ids] + [["failures", "show", one] for one in groups]
    words += [["jobs", "show", one, "--json"] for one in ids[::2]] + [["failures", "show", groups[0], "--json"]]
    connections.close_all()
    return project.run_python(
        "from django.core.management import call_command\n"
        f"for words in {json.dumps(words)}:\n"
        "    try:\n"
        "        call_command('taskyard', *words)\n"
        "    except SystemExit:\n"
        "        pass\n"
    )


def operate() -> None:
    """What operators do leaves texts as well: schedules with their versions, decisions, back-fills, the audit."""
    actor, hour = Actor.system("the test"), dt.timedelta(hours=1)
    for word in ("CanaryFirst", "CanarySecond"):
        said = {"word": word, "login": {"password": "CanaryDefined"}}
        row = schedules.define(actor, name="spilling", recurrence=Every(hour), task=blurts, kwargs=said)
    schedules.run(actor, row, reason=SAID)
    schedules.backfill(actor, row, Wish(since=dt.datetime.now(dt.UTC) - 2 * hour, queue="celery"), reason=SAID)
    schedules.pause(actor, row, reason=SAID)
    queues.pause(actor, ["celery"], reason=SAID)
    tenants.pause(actor, ["acme"], reason=SAID)
    failed = Job.objects.filter(state="failed", task="app.blurts").first()
    jobs.copy(actor, failed.id, kwargs={**failed.kwargs, "answer": "CanaryCopied"}, reason=SAID)
    jobs.cancel(actor, [jobs.copy(actor, failed.id).id], reason=SAID)
    order.start(actor, order.order(actor, "discard", JobFilter(states=("failed",)), reason=SAID))
    register(dt.datetime.now(dt.UTC), "celery")
    with contextlib.suppress(ValueError):
        Spilt.run_inline(word="CanaryStep", login={"password": "CanaryInput"})
    group = FailureGroup.objects.first().pk
    failures.note(actor, group, SAID)
    failures.snooze(actor, group, until=dt.datetime.now(dt.UTC) + hour, reason=SAID)


def shown() -> Iterator[tuple[str, str]]:
    """Every page, document and stream, to people and programs with and without payload."""
    seen = []
    for blind in (False, True):
        user = User.objects.create_user(f"ann{blind}", is_staff=True, is_superuser=not blind)
        user.user_permissions.set(Permission.objects.exclude(codename="view_payload"))
        browser = Client()
        browser.force_login(user)
        scopes = sorted(tokens.permissions() - ({"view_payload"} if blind else set()))
        secret = tokens.create(Actor.system(), "a program", scopes=scopes).secret
        # Each form once, to a person who also asks the API; to whoever sees none of them, and to programs, which the
        # same API answers, a few of each kind.
        seen += Walk(browser, most=2 if blind else 60).go().seen
        seen += Walk(Client(headers={"Authorization": f"Bearer {secret}"}), under="taskyard/", most=2).go().seen
    assert not unanswered(seen), "\n".join(unanswered(seen))
    assert sum(REDACTED in each.text for each in seen) > 100
    for each in seen:
        # A time zone is called so.
        yield f"{each.method} {each.address}: {each.status}", each.text.replace("Atlantic/Canary", "")
