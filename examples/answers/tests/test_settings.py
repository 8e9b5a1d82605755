"""S8: routes, workers, limits, logging, the cache."""

import runpy
from typing import Any

import pytest
from answers import tasks as answers
from documents import tasks

from taskyard.celery import get_app


def settings_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name in ("DATABASE_URL", "MEMCACHED", "BROKER_URL", "CELERY_LOGGING_LEVEL", "DJANGO_LOGGING_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path("config/settings.py")


@pytest.mark.django_db
def test_patterns_choose_the_queue_and_what_none_names_is_in_celerys_own(taskyard_jobs: Any) -> None:
    queues = {
        answers.batch_generate_answers: "batch", answers.batch_generate_final_answers: "batch",
        answers.generate_answer: "batch", tasks.embed_document: "embedding", tasks.batch_embed_documents: "embedding",
        tasks.sync_source: "default", tasks.sync_all_sources: "default", tasks.validate_source: "celery",
        tasks.validate_all_sources: "celery",
    }  # fmt: skip
    for task, queue in queues.items():
        arguments = dict.fromkeys(task.signature.parameters, 1)
        assert task.enqueue(**arguments).queue == queue, task.name


def test_each_queue_has_a_worker_with_slots_of_its_own(settings: Any) -> None:
    assert settings.WORKERS == {"default": ("default,celery", 4), "embedding": ("embedding", 2), "batch": ("batch", 2)}
    consumed = {queue for queues, _ in settings.WORKERS.values() for queue in queues.split(",")}
    assert consumed == set(settings.TASKYARD["QUEUES"])


def test_acknowledgement_prefetch_and_expiry_are_celerys_own_settings() -> None:
    conf = get_app().conf
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (True, 1)
    assert conf.result_expires.days == 1


def test_workers_log_at_a_level_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_with(monkeypatch, CELERY_LOGGING_LEVEL="DEBUG", DJANGO_LOGGING_LEVEL="ERROR")
    loggers = found["LOGGING"]["loggers"]
    assert (found["CELERY_LOGGING_LEVEL"], loggers["answers"]["level"]) == ("DEBUG", "DEBUG")
    assert loggers["django"]["level"] == "ERROR"


def test_memcached_is_djangos_cache_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings_with(monkeypatch, MEMCACHED="unix:/run/memcached.sock")
    assert found["CACHES"]["default"]["LOCATION"] == "unix:/run/memcached.sock"
    assert "memcached" in found["CACHES"]["default"]["BACKEND"]
    assert "CELERY_RESULT_BACKEND" not in found
    assert "CELERY_BROKER_URL" not in found
    assert "locmem" in settings_with(monkeypatch)["CACHES"]["default"]["BACKEND"]


def test_it_is_ready_for_pgbouncer_and_connections_are_asked_whether_they_live(monkeypatch: pytest.MonkeyPatch) -> None:
    database = settings_with(monkeypatch, DATABASE_URL="postgresql://a:b%40@pg:6432/answers")["DATABASES"]["default"]
    assert (database["DISABLE_SERVER_SIDE_CURSORS"], database["CONN_HEALTH_CHECKS"]) == (True, True)
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("pg", 6432, "b@")
