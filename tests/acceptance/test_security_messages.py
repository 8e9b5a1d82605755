"""What a person who can write to the broker can do: without signing make a worker look up a row, with it nothing."""

import json
import os
import pickle
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery as PlainCelery
from celery.signals import before_task_publish
from django.utils import timezone
from kombu import Producer
from kombu.serialization import dumps

from taskyard.celery import signing
from taskyard.celery.messages import outgoing_columns, outgoing_from_row, thin_message
from taskyard.jobs.models import Job
from taskyard.jobs.rows.sql import Sql
from tests.app import tasks
from tests.brokers import channel_of
from tests.conftest import BROKERS
from tests.servers import wait_until
from tests.workers import Project, WorkerProcess, wait_for_state, wait_until_idle

NEW, OLD, FOREIGN = "the key that signs".ljust(32, "n"), "the key before it".ljust(32, "o"), "f" * 40
EVIL_BODY = '[["evil"], {"word": "evil"}, {"callbacks": [{"task": "app.say_for", "args": ["evil"]}], "chord": null}]'
#: No feeder: what arrives is what the test sent.
QUIET = {"AGENTS": False}


class RunsCode:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mknod, (self.path,)


@pytest.fixture(params=["redis", "rabbitmq"])
def remote(request: pytest.FixtureRequest, project: Project) -> Iterator[Project]:
    """The test project on a broker that is not the database."""
    with BROKERS[request.param]() as address:
        project.broker_url = address
        yield project


def queued(word: str, **options: Any) -> Job:
    """A job as it is once its message is out; the message is the test's to send."""
    job = tasks.say_for.using(**options).enqueue(word=word)
    Job.objects.filter(id=job.id).update(state="queued", due=True, published_at=timezone.now(), publishes=1)
    return job


def message_of(job: Job) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What the feeder would publish for it."""
    sql = Sql("default")
    out = outgoing_from_row(
        sql, sql.query(f"SELECT {outgoing_columns} FROM taskyard_job WHERE id = %s", [sql.uuid(job.id)])[0]
    )
    return thin_message(out)


def signed(job: Job, settings: Any, *keys: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The same, signed with the first of the keys."""
    settings.TASKYARD = {"SIGNING_KEYS": list(keys)}
    sql = Sql("default")
    row = sql.query(f"SELECT {outgoing_columns} FROM taskyard_job WHERE id = %s", [sql.uuid(job.id)])[0]
    [(out, make)] = signing.signed_messages([outgoing_from_row(sql, row)])
    message = make(out)
    settings.TASKYARD = {}
    return message


def put(
    project: Project, body: str | bytes, headers: dict[str, Any], properties: dict[str, Any], **options: Any
) -> None:
    """Publish it as it is."""
    given = {"routing_key": "celery", "content_type": "application/json", "content_encoding": "utf-8", **options}
    with channel_of(project) as channel:
        Producer(channel).publish(body, headers=headers, **properties, **given)


def forge(project: Project, job: Job, **changes: Any) -> None:
    """Publish a job's message with some of its headers, or its body, replaced."""
    body, headers, properties = message_of(job)
    body = changes.pop("body", body)
    put(project, body, {**headers, **changes}, properties)


def run_to_here(project: Project, settings: Any, *keys: str) -> None:
    """Wait until the worker has dealt with everything sent so far."""
    last = queued("last")
    put(project, *(signed(last, settings, *keys) if keys else message_of(last)))
    wait_for_state(last.id, "succeeded", 60)


def is_untouched(job: Job) -> bool:
    return Job.objects.filter(id=job.id, state="queued", attempt=0, worker=None, max_attempts=job.max_attempts).exists()


def words_run(project: Project) -> list[str]:
    """What the bodies were called with, in the order they began."""
    return [words[6] for words in project.history() if words[2] == "start" and words[5] == "say_for"]


def dropped(worker: WorkerProcess, why: str) -> int:
    return sum("Message dropped" in line and why in line for line in worker.output().splitlines())


def test_a_forged_message_can_at_most_make_a_worker_look_up_a_row(remote: Project, settings: Any) -> None:
    remote.taskyard = QUIET
    worker = remote.start_worker("-c", "1")
    jobs = {name: queued(name) for name in ("task", "limits", "shorter", "unknown", "pickle")}
    elsewhere = queued("elsewhere", queue_name="elsewhere")

    # No row, a task that exists.
    put(remote, EVIL_BODY, {**message_of(jobs["task"])[1], "id": str(uuid.uuid4())}, {})
    forge(remote, jobs["task"], task="app.once_until_start", body=EVIL_BODY)
    forge(remote, jobs["limits"], timelimit=[3000, None])
    forge(remote, jobs["shorter"], timelimit=[None, 7])
    forge(remote, jobs["unknown"], task="app.of_nobody")
    forge(remote, elsewhere)
    _, headers, properties = message_of(jobs["pickle"])
    pickled = pickle.dumps(RunsCode(str(remote.folder / "pickled")))
    put(remote, pickled, headers, properties, content_type="application/x-python-serialize", content_encoding="binary")
    run_to_here(remote, settings)

    assert words_run(remote) == ["last"]
    assert all(is_untouched(job) for job in (*jobs.values(), elsewhere))
    assert not (remote.folder / "pickled").exists()
    assert not Job.objects.filter(task="app.once_until_start").exists()
    # Its own message was all each of them lacked, and what runs is what was committed.
    for job in jobs.values():
        forge(remote, job, body=EVIL_BODY, taskyard_tenant="somebody-else", shadow="evil", reply_to="evil")
        assert wait_for_state(job.id, "succeeded", 30).attempt == 1
    assert sorted(words_run(remote)) == sorted(["last", *jobs])
    assert worker.process.poll() is None


def test_a_body_swapped_between_two_jobs_and_a_changed_tenant_change_nothing(remote: Project) -> None:
    remote.taskyard = QUIET
    remote.start_worker("-c", "1")
    ours, theirs = queued("ours", tenant="us"), queued("theirs", tenant="them")

    forge(remote, ours, body='[[], {"word": "theirs"}, {}]', taskyard_tenant="them")
    forge(remote, theirs, body='[[], {"word": "ours"}, {}]', taskyard_tenant="us")

    assert wait_for_state(ours.id, "succeeded").result == "ours for us"
    assert wait_for_state(theirs.id, "succeeded").result == "theirs for them"


def test_a_replayed_message_has_one_effect(remote: Project, settings: Any) -> None:
    remote.taskyard = {**QUIET, "SIGNING_KEYS": [NEW]}
    remote.start_worker("-c", "2")
    job = queued("once")
    message = signed(job, settings, NEW)
    for _ in range(3):
        put(remote, *message)
    run_to_here(remote, settings, NEW)
    for _ in range(3):
        put(remote, *message)
    run_to_here(remote, settings, NEW)

    assert sorted(words_run(remote)) == ["last", "last", "once"]
    assert Job.objects.get(id=job.id).attempt == 1


def test_names_in_messages_neither_begin_a_line_of_the_log_nor_reach_a_terminal(remote: Project) -> None:
    remote.taskyard = QUIET
    worker = remote.start_worker("-c", "1")
    line = "\r\n[2026-01-01 00:00:00,000: CRITICAL/MainProcess] forged \x1b[31mred\x1b[0m \u202e"
    body, headers, properties = message_of(queued("victim"))
    for name in ("id", "task", "shadow"):
        put(remote, body, {**headers, name: f"x{line}"}, properties)
        put(remote, body, {"lang": "py", "task": "app.note", "id": "x", name: f"x{line}"}, {})
    put(remote, line, {"lang": "py", "task": "app.note", "id": "x", line: line}, {})
    put(remote, json.dumps({"task": line, "id": line, "args": [], "kwargs": {}}), {}, {})

    wait_until(lambda: worker.output().count("Message dropped") >= 8, 30, "all are dropped")
    said = worker.output()
    assert not any(said_line.startswith("[2026-01-01 00:00:00,000: CRITICAL") for said_line in said.splitlines())
    assert "\x1b[31mred" not in said
    assert "\u202e" not in said


def test_with_signing_whatever_was_changed_is_refused_and_the_job_runs_untouched(
    remote: Project, settings: Any
) -> None:
    remote.taskyard = {**QUIET, "SIGNING_KEYS": [NEW, OLD]}
    first = remote.start_worker("-c", "1")
    job = queued("signed", tenant="us")
    body, headers, properties = signed(job, settings, NEW)
    other = signed(queued("other"), settings, NEW)
    changed = {
        "task": "app.note", "id": str(uuid.uuid4()), "taskyard_tenant": "them", "timelimit": [9.0, None], "retries": 1,
        "root_id": str(uuid.uuid4()), "taskyard": 2, "added": "by somebody", "eta": "2030-01-01T00:00:00+00:00",
        signing.SIGNATURE: other[1][signing.SIGNATURE],
    }  # fmt: skip
    for name, value in changed.items():
        put(remote, body, {**headers, name: value}, properties)
    put(remote, EVIL_BODY, headers, properties)
    put(remote, body, headers, {**properties, "reply_to": "somebody"})
    put(remote, body, {k: v for k, v in headers.items() if k != "taskyard_tenant"}, properties)
    wait_until(lambda: dropped(first, "signature is wrong") == len(changed) + 3, 30, "all are refused")
    put(remote, *message_of(job))
    wait_until(lambda: dropped(first, "it is not signed"), 30, "the unsigned one is refused")
    assert is_untouched(job)
    assert NEW not in first.output() and OLD not in first.output()

    first.stop()
    # Other workers have a feeder: its sweep publishes the job again, signed.
    remote.taskyard = {"SIGNING_KEYS": [NEW], "REPUBLISH_AFTER": {"seconds": 0.5}}
    remote.start_worker("-c", "1")
    assert wait_for_state(job.id, "succeeded", 60).result == "signed for us"
    wait_until_idle()
    assert sorted(words_run(remote)) == ["other", "signed"]


def test_keys_rotate_and_a_retired_key_an_old_signature_and_one_of_the_future_are_refused(
    remote: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.taskyard = {**QUIET, "SIGNING_KEYS": [NEW, OLD]}
    worker = remote.start_worker("-c", "1")
    jobs = {name: queued(name) for name in ("new", "old", "retired", "late", "early", "skewed")}
    now = timezone.now().timestamp()
    put(remote, *signed(jobs["new"], settings, NEW))
    put(remote, *signed(jobs["old"], settings, OLD))
    put(remote, *signed(jobs["retired"], settings, FOREIGN))
    for name, moment in (("late", -signing.LIFETIME_SECONDS - 5), ("early", 300), ("skewed", 30)):
        monkeypatch.setattr(signing.time, "time", lambda moment=moment: now + moment)
        message = signed(jobs[name], settings, NEW)
        monkeypatch.undo()
        put(remote, *message)
    run_to_here(remote, settings, NEW)

    assert sorted(words_run(remote)) == ["last", "new", "old", "skewed"]
    assert all(is_untouched(jobs[name]) for name in ("retired", "late", "early"))
    assert dropped(worker, "a key that is not known here") == 1
    assert dropped(worker, "was good until") == 1
    assert dropped(worker, "in the future") == 1


def test_arguments_changed_behind_a_signature_are_noticed(remote: Project, settings: Any) -> None:
    remote.taskyard = {**QUIET, "SIGNING_KEYS": [NEW]}
    remote.start_worker("-c", "1")
    job = queued("signed")
    message = signed(job, settings, NEW)
    Job.objects.filter(id=job.id).update(kwargs={"word": "tampered"})
    put(remote, *message)

    back = wait_for_state(job.id, "pending", 30)
    assert (back.attempt, back.max_attempts) == (1, job.max_attempts + 1)
    assert words_run(remote) == []


def test_with_signing_untracked_and_foreign_messages_need_a_signature_too(remote: Project) -> None:
    remote.taskyard = {"SIGNING_KEYS": [NEW], "ADOPT_FOREIGN": True}
    worker = remote.start_worker("-c", "1")
    plain = PlainCelery("plain", broker=remote.broker_url, set_as_current=False)

    plain.send_task("app.say_untracked", ("evil",))
    plain.send_task("app.say_for", ("evil",))
    wait_until(lambda: dropped(worker, "it is not signed") == 2, 30, "both are refused")

    remote.run_python("from tests.app import tasks; tasks.say_untracked.delay(word='signed')")
    wait_until(lambda: _untracked(remote) == ["signed"], 30, "the project's own runs")

    def sign(body: Any, headers: dict[str, Any], properties: dict[str, Any], **_: Any) -> None:
        kind, encoding, text = dumps(body, serializer="json")
        signing.sign_foreign(NEW, body=text, headers=headers, properties=properties, content=(kind, encoding))

    before_task_publish.connect(sign)
    try:
        adopted = plain.send_task("app.say_for", ("adopted",))
    finally:
        before_task_publish.disconnect(sign)
        plain.close()
    wait_until(lambda: Job.objects.filter(id=adopted.id).exists(), 30, "it is a row")
    assert wait_for_state(adopted.id, "succeeded", 30).result == "adopted for "
    assert words_run(remote) == ["adopted"]


def _untracked(project: Project) -> list[str]:
    return [words[3] for words in project.history() if words[2] == "untracked"]


def test_remote_control_is_off_where_messages_are_signed_and_where_it_is_switched_off(remote: Project) -> None:
    plain = PlainCelery("plain", broker=remote.broker_url, set_as_current=False)
    remote.taskyard = {"SIGNING_KEYS": [NEW]}
    by_signing = remote.start_worker("-c", "1")
    remote.taskyard, remote.celery = {}, {"WORKER_ENABLE_REMOTE_CONTROL": False}
    by_setting = remote.start_worker("-c", "1")
    remote.taskyard, remote.celery = {"SIGNING_KEYS": [NEW]}, {"WORKER_ENABLE_REMOTE_CONTROL": True}
    asked_for = remote.start_worker("-c", "1")

    [reply] = plain.control.ping(timeout=3)
    assert asked_for.log.stem.replace("worker-", "w") in next(iter(reply))
    plain.control.shutdown()
    plain.close()
    wait_until(lambda: asked_for.process.poll() is not None, 30, "the one that listens obeys")
    assert by_signing.process.poll() is None
    assert by_setting.process.poll() is None
