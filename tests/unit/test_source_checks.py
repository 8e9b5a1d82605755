"""Each mistake that can be read in source, beside what looks like it and is none."""

import ast
import dataclasses
import uuid
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskyard.checks import options, startup
from taskyard.checks.report import Found
from taskyard.checks.source.findings import Source, read_source
from taskyard.checks.source.modules import Module, other_names

HEAD = """
import logging
from celery import shared_task
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST
from taskyard import Retry, RetryPolicy, task
logger = logging.getLogger(__name__)
@task
def mail(user_id): return user_id
@task(unique="user_id")
def once(user_id): return user_id
@task(unique=False)
def always(user_id): return user_id
@shared_task
def push(user_id): return user_id
"""
OURS = "from taskyard.celery import Celery\napp = Celery('shop')\n"
PLAIN = "from celery import Celery\napp = Celery('shop')\n"


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """What is found in a package of the given files."""

    def of(text: str = "", *, atomic: bool = False, **files: str) -> Source:
        folder = tmp_path / uuid.uuid4().hex / "shop"
        folder.mkdir(parents=True)
        for name, content in {"__init__": "", **files, "work": HEAD + dedent(text)}.items():
            (folder / f"{name}.py").write_text(content)
        return read_source((("shop", str(folder)),), atomic)

    return of


def numbers(source: Source) -> list[str]:
    return [found.number for found in source.found]


RETRIES = [
    ("retry=RetryPolicy(on=(ConnectionError, TimeoutError))", False),
    ("retry=RetryPolicy((KeyError,))", True),
    ("retry=RetryPolicy(on=(ConnectionError, User.DoesNotExist))", True),
    ("retry=RetryPolicy()", True),
    ("retry=RetryPolicy(max_retries=0)", False),
    ("retry=RetryPolicy(**SAID)", False),
    ("retry=SOMEWHERE", False),
]


@pytest.mark.parametrize(("options", "is_wrong"), RETRIES)
def test_errors_that_stay_are_not_worth_a_retry(read: Any, options: str, is_wrong: bool) -> None:
    found = numbers(read(f"@task({options})\ndef work(user_id): ...\n"))
    assert found == (["W005"] if is_wrong else [])


def test_steps_of_sagas_and_what_undoes_them_are_read_like_tasks(read: Any) -> None:
    steps = """
from django.db.models import F
from taskyard import RetryPolicy
from taskyard.sagas import Orchestrator, orchestrator, step
@orchestrator("order")
class Order(Orchestrator):
    @step
    def take(self, context, user: "User"):
        user.orders.update(tries=F("tries") + 1)
    @take.rollback
    def give_back(self, context, result):
        try:
            result.delete()
        except Exception:
            logger.exception("left behind")
    @step(queue="slow", retry=RetryPolicy(on=(ValueError,)))
    def pay(self, context): ...
@orchestrator("refund")
class Refund(Orchestrator):
    @step(retry=RetryPolicy())
    def pay(self, context): ...
"""
    found = read(orchestrators="from django.contrib.auth.models import User\n" + steps)
    assert sorted(numbers(found)) == ["W005", "W005", "W010", "W011", "W014"]
    assert [queue for queue, *_ in found.queues] == ["slow"]


def test_a_policy_and_its_errors_may_stand_in_another_module(read: Any) -> None:
    policies = (
        "from taskyard import RetryPolicy\nTRANSIENT = (OSError, ValueError)\nOFTEN = RetryPolicy(on=TRANSIENT)\n"
    )
    source = read("from .policies import OFTEN as often\n@task(retry=often)\ndef work(): ...\n", policies=policies)
    assert numbers(source) == ["W005"]
    assert "after ValueError:" in source.found[0].says


HANDLERS = [
    ("except ValueError as error:\n        raise self.retry(exc=error)", ["W005"]),
    ("except ValueError:\n        raise Retry()", ["W005"]),
    ("except ConnectionError as error:\n        raise self.retry(exc=error)", []),
    ("except Exception as error:\n        if error.args:\n            raise self.retry()\n        raise", []),
    ("except Exception:\n        logger.exception('failed')", ["W011"]),
    ("except (OSError, Exception):\n        return {'error': 'yes'}", ["W011"]),
    ("except:\n        pass", ["W011"]),
    ("except Exception as error:\n        return {'success': False, 'error': str(error)}", []),
    ("except Exception:\n        logger.exception('failed')\n        raise", []),
    ("except Exception as error:\n        self.job.item_failed(1, error)", []),
    ("except Exception:\n        User.objects.filter(pk=1).update(is_active=False)", []),
    ("except OSError:\n        logger.exception('failed')", []),
]


@pytest.mark.parametrize(("handler", "wrong"), HANDLERS)
def test_errors_are_not_swallowed_and_not_retried_when_they_stay(read: Any, handler: str, wrong: list[str]) -> None:
    source = read(f"@task(bind=True)\ndef work(self):\n    'Doc.'\n    try:\n        User.clean()\n    {handler}\n")
    assert numbers(source) == wrong


AROUND = [
    "    User.clean()\n    try:\n        logger.info('all done')\n    except Exception:\n        pass\n",
    "    for one in range(3):\n        try:\n            User.clean()\n        except Exception:\n            pass\n",
]


@pytest.mark.parametrize("body", AROUND)
def test_an_error_of_a_part_is_the_tasks_own_matter(read: Any, body: str) -> None:
    assert numbers(read(f"@task\ndef work():\n{body}")) == []


ADDING = [
    ("User.objects.filter(pk=1).update(visits=F('visits') + 1)", True),
    ("User.objects.filter(pk=1, seen=False).update(seen=True, visits=F('visits') + 1)", False),
    ("User.objects.update(total=F('price') + 1)", False),
    ("user.visits += 1; user.save()", True),
    ("user.visits += 1; print(user)", False),
    ("self.count += 1; user.save()", False),
]


@pytest.mark.parametrize(("body", "is_wrong"), ADDING)
def test_what_a_second_run_would_add_again_is_named(read: Any, body: str, is_wrong: bool) -> None:
    assert numbers(read(f"@task\ndef work(user):\n    {body}\n")) == (["W014"] if is_wrong else [])
    # In a function that is no task, nobody runs it again.
    assert numbers(read(f"def work(user):\n    {body}\n")) == []


PARAMETERS = [
    ("user: User", True), ("user: 'User | None'", True), ("users: list[User]", True), ("*, user: User", True),
    ("user: 'not valid'", False), ("user: int", False), ("user: type[User]", False), ("user: Unknown", False),
    ("user", False),
]  # fmt: skip


@pytest.mark.parametrize(("parameter", "is_wrong"), PARAMETERS)
def test_a_task_takes_no_model(read: Any, parameter: str, is_wrong: bool) -> None:
    assert numbers(read(f"@shared_task\ndef work({parameter}): ...\n")) == (["W010"] if is_wrong else [])


GIVEN = [
    ("user = User.objects.get(pk=1)\n    mail.delay(user)", True),
    ("user = get_object_or_404(User, pk=1)\n    mail.using(priority=1).enqueue(user_id=user)", True),
    ("user, made = User.objects.get_or_create(pk=1)\n    push.apply_async((user,))", True),
    ("user = form.save()\n    push.apply_async(kwargs={'user_id': user})", True),
    ("for user in User.objects.filter(is_active=True):\n        push.s(user).delay()", True),
    ("mail.enqueue(request.user)", True),
    ("user = User.objects.get(pk=1)\n    mail.enqueue(user.pk)", False),
    ("for user in User.objects.values_list('pk'):\n        mail.enqueue(user)", False),
    ("user = settings.get('user')\n    mail.enqueue(user)", False),
    ("user = User.objects.get(pk=1)\n    unknown.delay(user)", False),
]


@pytest.mark.parametrize(("body", "is_wrong"), GIVEN)
def test_no_row_is_given_to_a_task(read: Any, body: str, is_wrong: bool) -> None:
    assert numbers(read(f"def view(request):\n    {body}\n")) == (["W010"] if is_wrong else [])


def test_a_row_does_not_give_itself(read: Any) -> None:
    text = "from django.dispatch import receiver\n@receiver(None)\ndef saved(instance):\n    mail.delay(instance)\n"
    assert numbers(read(text)) == ["W010"]


TWICE = [
    ("@require_POST\ndef view(request, user_id):\n    mail.enqueue(user_id)", True),
    ("def view(request, user_id):\n    if request.method == 'POST':\n        push.delay(user_id)", True),
    ("class V:\n    def post(self, request, **kwargs):\n        mail.enqueue(kwargs['user_id'])", True),
    ("class V:\n    def post(self, request):\n        user = self.get_object()\n        mail.enqueue(user.pk)", True),
    ("def act(self, request, queryset):\n    for user in queryset:\n        mail.enqueue(user.pk)", True),
    # The task's own guard, or somebody's who says that twice is meant.
    ("@require_POST\ndef view(request, user_id):\n    once.enqueue(user_id)", False),
    ("@require_POST\ndef view(request, user_id):\n    always.enqueue(user_id)", False),
    # A guard of the view.
    ("@require_POST\ndef view(request, user_id):\n    if cache.add('m', 1):\n        mail.enqueue(user_id)", False),
    ("@require_POST\ndef view(request, user_id):\n    user = get_object_or_404(User, pk=user_id)\n"
     "    if user.is_active:\n        mail.enqueue(user.pk)", False),
    # Not asked for by a click, a row that was just made, or not about a row.
    ("def view(request, user_id):\n    mail.enqueue(user_id)", False),
    ("@require_POST\ndef view(request):\n    user = User.objects.create()\n    mail.enqueue(user.pk)", False),
    ("@require_POST\ndef view(request):\n    user = form.save()\n    mail.enqueue(user.pk)", False),
    ("@require_POST\ndef view(request, text):\n    mail.enqueue(text)", False),
    ("def helper(user_id):\n    mail.enqueue(user_id)", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "is_wrong"), TWICE)
def test_a_second_click_is_a_second_job_where_nobody_thought_of_it(read: Any, text: str, is_wrong: bool) -> None:
    assert numbers(read(text)) == (["W012"] if is_wrong else [])


ATOMIC = [
    ("with transaction.atomic():\n        push.delay(1)", True),
    ("with open('x'), transaction.atomic('other'):\n        push.apply_async([1])", True),
    ("with transaction.atomic():\n        transaction.on_commit(lambda: push.delay(1))", False),
    ("with transaction.atomic():\n        push.delay_on_commit(1)", False),
    ("with transaction.atomic():\n        mail.delay(1)", False),
    ("with transaction.atomic():\n        pass\n    push.delay(1)", False),
]


@pytest.mark.parametrize(("body", "is_wrong"), ATOMIC)
def test_a_plain_app_publishes_before_the_commit_and_ours_does_not(read: Any, body: str, is_wrong: bool) -> None:
    text = f"def change(n):\n    {body}\n"
    assert numbers(read(text, celery=PLAIN)) == (["W006"] if is_wrong else [])


@pytest.mark.parametrize("app", [OURS, ""])
def test_on_our_app_enqueuing_in_a_transaction_is_safe(read: Any, app: str) -> None:
    assert numbers(read("@transaction.atomic\ndef change(n):\n    push.delay(1)\n", celery=app)) == []


def test_a_view_is_a_transaction_with_atomic_requests(read: Any) -> None:
    assert numbers(read("def view(request):\n    push.delay(1)\n", celery=PLAIN, atomic=True)) == ["W006"]


KEPT = [
    ("user.task_id = push.delay(1).id", True),
    ("user.task_id = str(push.apply_async((1,)).task_id)", True),
    ("sent = push.delay(1)\n    User.objects.filter(pk=1).update(task_id=sent.id)", True),
    ("user.task_id = push.apply_async((1,), task_id=known).id", False),
    ("with transaction.atomic():\n        user.task_id = push.delay(1).id", False),
    ("user.job_id = mail.enqueue(1).id", False),
    ("user.task_id = other.id", False),
    ("sent = push.delay(1)\n    print(sent.id)", False),
]


@pytest.mark.parametrize(("body", "is_wrong"), KEPT)
def test_an_id_that_is_saved_after_the_sending_is_named(read: Any, body: str, is_wrong: bool) -> None:
    assert numbers(read(f"def change(user):\n    {body}\n")) == (["W013"] if is_wrong else [])


BEAT = [
    ("app.conf.beat_schedule = {}", True), ("app.conf.update(beat_schedule={})", True),
    ("sender.add_periodic_task(1, push.s())", True), ("app.conf.timezone = 'UTC'", False),
]  # fmt: skip


@pytest.mark.parametrize(("line", "is_wrong"), BEAT)
def test_a_schedule_in_the_code_of_the_app_is_named(read: Any, line: str, is_wrong: bool) -> None:
    source = read(line)
    assert (numbers(source), source.sets_beat_schedule) == ((["W007"], True) if is_wrong else ([], False))


ALLOWED = [
    ("user.visits += 1  # taskyard: allow W014 — counted for fun", []),
    ("# taskyard: allow W005, W014: counted for fun\n    user.visits += 1", []),
    ("user.visits += 1  # taskyard: allow W014 - counted for fun", []),
    ("user.visits += 1  # taskyard: allow W005 — another one", ["W014"]),
    ("user.visits += 1  # taskyard: allow W014", ["W014"]),
    ("user.visits += 1\n    # taskyard: allow W014 — below", ["W014"]),
]


@pytest.mark.parametrize(("line", "left"), ALLOWED)
def test_an_exception_stands_at_its_place_and_has_a_reason(read: Any, line: str, left: list[str]) -> None:
    assert numbers(read(f"@task\ndef work(user):\n    {line}\n    user.save()\n")) == left


def test_an_exception_above_a_task_holds_for_all_of_it(read: Any) -> None:
    said = "# taskyard: allow W005, W014 — an old one\n@task(\n    retry=RetryPolicy(),\n)\ndef work(user):\n"
    assert numbers(read(f"{said}    user.visits += 1\n    user.save()\n")) == []


# -- options, which are asked for what the source declares


class Conf(dict[str, Any]):
    """Celery's configuration, as far as checks ask for it."""

    def __init__(self, **said: Any) -> None:
        super().__init__({
            "task_time_limit": None, "task_soft_time_limit": None, "task_annotations": None, "beat_schedule": {},
            "result_backend": None, "task_ignore_result": False, "result_expires": None, "timezone": None,
            "enable_utc": True, "broker_url": "", "broker_transport_options": {}, "task_queues": None,
            "task_routes": None, "task_default_queue": "celery", **said,
        })  # fmt: skip

    __getattr__ = dict.__getitem__


def told(monkeypatch: pytest.MonkeyPatch, source: Source, **said: Any) -> list[Found]:
    monkeypatch.setattr("taskyard.celery.get_app", lambda: SimpleNamespace(conf=Conf(**said)))
    monkeypatch.setattr(options, "source", lambda: source)
    return list(options.check_options())


@pytest.mark.parametrize(
    ("declaration", "said", "is_wrong"),
    [
        ("@task", {}, True),
        ("@task(pack=True)", {}, False),
        ("@task(**OPTIONS)", {}, False),
        ("@task(soft_time_limit=HOUR)", {}, False),
        ("@shared_task(bind=True)", {}, True),
        ("# taskyard: allow W004 — it runs for days\n@task", {}, False),
        ("@task", {"task_time_limit": 60}, False),
        ("@task", {"task_annotations": {"*": {"time_limit": 60}}}, False),
        ("@shared_task", {"task_annotations": {"shop.limits.work": {"time_limit": 60}}}, False),
        ("@shared_task", {"task_annotations": {"shop.limits.other": {"time_limit": 60}}}, True),
    ],
)
def test_a_task_that_nothing_ends_is_named(
    read: Any, monkeypatch: pytest.MonkeyPatch, declaration: str, said: dict[str, Any], is_wrong: bool
) -> None:
    imports = "from celery import shared_task\nfrom taskyard import task\n"
    source = read(limits=f"{imports}{declaration}\ndef work(self): ...\n")
    found = [one.says for one in told(monkeypatch, source, **said) if one.number == "W004"]
    assert any("limits.py" in says for says in found) is is_wrong


RESULTS = [
    ({"result_backend": "redis://"}, "", ["W008"]),
    ({"result_backend": "redis://"}, "AsyncResult(1)", []),
    ({"result_backend": "redis://", "task_ignore_result": True}, "", []),
    ({"result_backend": "taskyard.celery.results.backend:JobBackend"}, "", []),
    ({"result_backend": "disabled://"}, "", []),
    ({"result_backend": "django-db"}, "", []),
    ({"result_backend": "rpc://"}, "AsyncResult(1)", ["W017"]),
    ({"result_backend": "rpc://", "result_expires": 60}, "AsyncResult(1)", []),
    ({"timezone": "UTC"}, "", []),
    ({"timezone": "Etc/UTC"}, "", []),
    ({"timezone": "Europe/Berlin"}, "", ["W009"]),
    ({"timezone": "Mars/Olympus"}, "", ["W009"]),
    ({"enable_utc": False}, "", ["W009"]),
    ({"beat_schedule": {"a": 1}}, "", ["W007"]),
    ({"task_serializer": "pickle"}, "", ["W003"]),
    ({"result_serializer": "yaml"}, "", ["W003"]),
    ({"task_serializer": "json"}, "", []),
]


@pytest.mark.parametrize(("said", "text", "wrong"), RESULTS)
def test_options_that_take_promises_away_are_named(
    read: Any, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], text: str, wrong: list[str]
) -> None:
    found = told(monkeypatch, read(text), task_time_limit=60, **said)
    assert [one.number for one in found] == wrong


def test_a_schedule_that_code_sets_is_named_there_alone(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read("app.conf.beat_schedule = {'a': 1}")
    assert numbers(source) == ["W007"]
    assert told(monkeypatch, source, task_time_limit=60, beat_schedule={"a": 1}) == []


@pytest.mark.parametrize(("option", "is_wrong"), [("ignore_result=True", False), ("ignore_result=False", True)])
def test_results_that_every_task_ignores_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, is_wrong: bool
) -> None:
    (tmp_path / "work.py").write_text(f"from celery import shared_task\n@shared_task({option})\ndef work(): ...\n")
    source = read_source((("shop", str(tmp_path)),), False)
    found = told(monkeypatch, source, task_time_limit=60, result_backend="redis://")
    assert [one.number for one in found] == (["W008"] if is_wrong else [])


@override_settings(TIME_ZONE="Europe/Berlin")
def test_entries_of_beat_are_read_in_utc_unless_a_zone_is_named(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(monkeypatch, read(), task_time_limit=60, beat_schedule={"a": 1})
    assert [one.number for one in found] == ["W007", "W009"]


REDIS = "redis://localhost"


@pytest.mark.parametrize(
    ("declared", "said", "is_wrong"),
    [
        # Jobs that have a row are acknowledged after a minute, whatever their limit.
        ("time_limit=7200", {"broker_url": REDIS}, False),
        ("time_limit=7200", {"broker_url": REDIS, "broker_transport_options": {"visibility_timeout": 30}}, True),
        ("time_limit=20", {"broker_url": REDIS, "broker_transport_options": {"visibility_timeout": 30}}, False),
        ("time_limit=7200, tracked=False", {"broker_url": REDIS}, True),
        ("time_limit=timedelta(hours=2), tracked=False", {"broker_url": REDIS}, True),
        ("time_limit=timedelta(minutes=2 * 10), tracked=False", {"broker_url": REDIS}, False),
        ("time_limit=7200, tracked=False", {"broker_url": "amqp://"}, False),
    ],
)
def test_a_visibility_timeout_outlasts_what_holds_a_message(
    read: Any, monkeypatch: pytest.MonkeyPatch, declared: str, said: dict[str, Any], is_wrong: bool
) -> None:
    source = read(f"@task({declared})\ndef work(): ...\n")
    tasks = tuple(task for task in source.tasks if task.name == "shop.work.work")
    found = told(monkeypatch, dataclasses.replace(source, tasks=tasks), **said)
    assert [one.number for one in found] == (["W015"] if is_wrong else [])


def test_on_a_plain_app_the_longest_limit_counts(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read("@shared_task(time_limit=7200)\ndef work(): ...\n", celery=PLAIN)
    found = told(monkeypatch, source, broker_url=REDIS, task_soft_time_limit=10)
    assert [one.number for one in found] == ["W015"]
    assert "shop.work.work holds one for up to 7200 s" in found[0].says


ROUTES = [
    ({"shop.*": {"queue": "high"}}, []), ({"shop.*": "hihg"}, ["hihg"]), ([{"shop.*": {"queue": "low"}}], ["low"]),
    (("shop.*", {"queue": "lost"}), ["lost"]), ([lambda *args: "lost"], []), ({"shop.*": {"queue": "celery"}}, []),
    ({"shop.*": {"queue": "shop-high"}}, []), ({"shop.*": {"queue": "legacy"}}, []), ({"shop.*": {"priority": 3}}, []),
]  # fmt: skip


@pytest.mark.parametrize(("routes", "lost"), ROUTES)
@override_settings(TASKYARD={"QUEUES": {"high": "shop-high"}, "HANDOVER": ["legacy"]})
def test_a_queue_that_nothing_declares_is_named(
    read: Any, monkeypatch: pytest.MonkeyPatch, routes: Any, lost: list[str]
) -> None:
    source = read("@task(queue='high')\ndef work(): ...\n@task(queue='low')\ndef other(): ...\n")
    found = told(monkeypatch, source, task_time_limit=60, task_routes=routes, task_queues=["high"])
    assert [one.says.split("queue ")[1].split("'")[1] for one in found] == [*lost, "low"]
    assert not told(monkeypatch, source, task_time_limit=60, task_routes=routes)


# -- reading


def test_tests_migrations_and_what_is_no_package_are_not_read(tmp_path: Path) -> None:
    task = "from celery import shared_task\n@shared_task\ndef work(): ...\n"
    for place in (
        "tests/__init__",
        "migrations/__init__",
        "static/work",
        "inner/__init__",
        "test_work",
        "testimonials",
    ):
        file = tmp_path / "shop" / f"{place}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(task)
    tasks = {task.name for task in read_source((("shop", str(tmp_path / "shop")),), False).tasks}
    assert tasks == {"shop.inner.work", "shop.testimonials.work"}


def test_an_inner_package_has_its_own_name(tmp_path: Path) -> None:
    for folder in ("site", "site/apps", "site/apps/shop"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "site/apps/shop/tasks.py").write_text("from celery import shared_task\n@shared_task\ndef work(): ...\n")
    where = (("shop", str(tmp_path / "site/apps/shop")), ("site", str(tmp_path / "site")))
    assert [task.name for task in read_source(where, False).tasks] == ["shop.tasks.work"]


def test_a_module_under_two_names_is_found_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apps" / "shop").mkdir(parents=True)
    tasks = tmp_path / "apps" / "shop" / "tasks.py"
    tasks.touch()
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "apps")])
    imported = ["shop.tasks", "apps.shop.tasks", "other.shop.tasks", "os.path"]
    assert list(other_names({"shop.tasks": str(tasks)}, imported)) == [("shop.tasks", "apps.shop.tasks")]


def test_a_place_is_said_as_somebody_in_the_projects_folder_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = ast.parse("\n\nx = 1\n")
    module = Module("shop.work", str(tmp_path / "shop" / "work.py"), tree, ("", "", "x = 1"))
    assert module.place(tree.body[0]) == "shop/work.py:3"


def test_a_project_in_order_is_told_nothing() -> None:
    assert list(startup.check_order()) == []
