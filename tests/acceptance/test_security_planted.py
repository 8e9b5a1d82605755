"""Twenty forms of secrets, in what tasks raise, report and return: in no text that is stored, logged or printed."""

import base64
import json
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import connections, models

from taskyard.jobs.redaction import PAYLOAD, REDACTED
from taskyard.models import Failure, FailureGroup, Job
from tests.app.spills import FORMS
from tests.workers import Project, wait_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

#: What a secret begins with, as it stands and in base 64; and one that is a number.
CANARIES = ("Canary", base64.b64encode(b"Canary").decode(), "7351902468")
#: Arguments that are secrets, by what makes them so.
GIVEN = {
    "task": 'blurts.enqueue("CanaryWord")',
    "setting": 'blurts.enqueue("harmless", answer="CanaryAnswer")',
    "nested": 'blurts.enqueue("harmless", login={"user": "bob", "password": "CanaryNested \'quoted\'"})',
    "number": 'blurts.enqueue("harmless", pin=7351902468)',
    "celery": 'plainly.delay("bob", "CanaryPlain")',
}
#: Columns that hold what was given as it was given (docs/failures.md); all others are safe to be read.
GIVEN_COLUMNS = {
    "job": PAYLOAD, "message": ("body",), "canvas": ("body",), "outboxmessage": ("payload",),
    "schedule": ("args", "kwargs"), "scheduleversion": ("definition",),
}  # fmt: skip


def texts() -> Iterator[tuple[str, str]]:
    """Every value of every column that is safe to be read."""
    for model in apps.get_app_config("taskyard").get_models():
        hidden = GIVEN_COLUMNS.get(model._meta.model_name or "", ())
        columns = [f for f in model._meta.concrete_fields if f.attname not in hidden]
        names = [f.attname for f in columns if isinstance(f, (models.CharField, models.TextField))]
        for row in model._base_manager.using("default").values(*names) if names else ():
            yield from ((f"{model._meta.model_name}.{name}", str(value)) for name, value in row.items())


def found(where: str, text: str) -> list[str]:
    places = [(canary, text.find(canary)) for canary in CANARIES if canary in text]
    return [f"{where}: …{text[max(0, at - 80) : at + 40]}…" for _, at in places]


def test_planted_secrets_are_in_no_stored_text_no_log_and_no_command(project: Project) -> None:
    assert len(FORMS) + len(GIVEN) == 20
    project.taskyard = {"SENSITIVE": ["answer"]}
    worker = project.start_worker("-c", "2", "-E", "-l", "debug")
    project.run_python(
        "from tests.app.spills import *\n"
        "for form in FORMS:\n"
        "    by_form.enqueue(form, 'seed'), returns.enqueue(form, 'seed')\n" + "\n".join(GIVEN.values())
    )
    wait_until_idle(60)
    worker.stop()

    assert Job.objects.filter(state="failed").count() == Failure.objects.count() == 20
    assert Job.objects.filter(state="succeeded").count() == len(FORMS)
    # They were there, and what stands beside them still is.
    assert CANARIES[0] in repr(list(Job.objects.values("result")))
    stored = list(texts())
    assert sum(REDACTED in text for _, text in stored) > 100
    told = [leak for where, text in stored for leak in found(where, text)]
    log = worker.output()
    assert "is refused" in log and "raised unexpected" in log and "succeeded in" in log
    told += found("log", log)
    ids = [str(one) for one in Job.objects.values_list("id", flat=True)]
    groups = list(FailureGroup.objects.values_list("pk", flat=True))
    lists = [["jobs", "list", "--limit", "99"], ["failures", "list", "--limit", "99"], ["doctor"], ["status"]]
    words = [[*one, *more] for one in lists for more in ([], ["--json"])]
    words += [["jobs", "show", one] for one in ids] + [["failures", "show", one] for one in groups]
    words += [["jobs", "show", one, "--json"] for one in ids[::2]] + [["failures", "show", groups[0], "--json"]]
    connections.close_all()
    said = project.run_python(
        "from django.core.management import call_command\n"
        f"for words in {json.dumps(words)}:\n"
        "    try:\n"
        "        call_command('taskyard', *words)\n"
        "    except SystemExit:\n"
        "        pass\n"
    )
    assert said.count("is refused") > 5
    told += found("commands", said)
    assert told == []
