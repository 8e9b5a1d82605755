"""The Celery app: whose settings win, and what importing it costs."""

import subprocess
import sys
import uuid

import pytest
from celery import Celery as PlainCelery

from taskyard.celery import Celery, get_app
from taskyard.celery.application import DEFAULTS
from taskyard.entrypoint.commands.tasks import documents
from taskyard.jobs.models import Job


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_projects_own_setting_wins_over_our_default(name: str) -> None:
    app = Celery("mine", set_as_current=False)
    other = {"broker_url": "redis://elsewhere:1/0", "accept_content": ["yaml"]}.get(name, "mine")
    app.conf.update({name: other})
    configured = Celery("configured", set_as_current=False)
    configured.config_from_object({name: other})

    assert app.conf[name] == other
    assert configured.conf[name] == other


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {"broker_url"}))
def test_an_unset_setting_has_our_default_where_celery_has_another(name: str) -> None:
    app = Celery("unset", set_as_current=False)
    app.config_from_object({})

    assert app.conf[name] == DEFAULTS[name]


def test_the_apps_broker_is_the_one_the_project_names() -> None:
    app = Celery("broker", set_as_current=False)
    app.config_from_object({"broker_url": "redis://127.0.0.1:1/7"})

    assert app.connection_for_write().as_uri().endswith("127.0.0.1:1/7")
    assert app.connection_for_read().as_uri().endswith("127.0.0.1:1/7")


def test_without_a_broker_the_database_is_the_broker() -> None:
    app = Celery("none", set_as_current=False)
    app.config_from_object({})

    assert app.connection_for_write().transport.driver_type == "django"


def test_a_projects_celery_module_can_make_its_app_before_django_is_set_up() -> None:
    code = (
        "from taskyard.celery import Celery; app = Celery('proj'); "
        "app.config_from_object('django.conf:settings', namespace='CELERY'); app.autodiscover_tasks()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr


@pytest.mark.django_db(transaction=True)
def test_a_web_process_enqueues_by_name_a_task_that_nothing_has_imported_there() -> None:
    code = (
        "import django; django.setup(); from taskyard.tasks import registry; "
        "from taskyard.operations import Actor, jobs; "
        "assert registry.find('app.nothing') is None; print(jobs.enqueue(Actor.system('web'), 'app.nothing').id)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    assert Job.objects.get().id == uuid.UUID(done.stdout.strip())


@pytest.mark.django_db
def test_a_task_without_limits_is_listed_with_those_of_the_settings() -> None:
    get_app().conf.task_time_limit = 300
    try:
        limits = {task["name"]: task["time_limit_seconds"] for task in documents()}
    finally:
        get_app().conf.task_time_limit = None

    assert (limits["app.nothing"], limits["app.over_time"]) == (300.0, 1.0)


def test_our_app_is_a_celery_app() -> None:
    assert isinstance(get_app(), PlainCelery)
