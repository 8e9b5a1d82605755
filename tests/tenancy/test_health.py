"""Readiness and probes where tenants are: in a tenant's context, and with a database backend that has models."""

import json

from django.conf import settings
from django.db import connection
from django.test import RequestFactory

from taskyard.monitoring.views import livez, readyz
from taskyard.tenancy import tenant_context
from tests import nursery
from tests.tenancy.conftest import TenantProject
from tests.workers import ROOT


def test_a_process_is_ready_whoever_is_current(tenants: None) -> None:
    with tenant_context("acme"):
        if settings.KIND == "schemas":
            # A schema has a table of migrations of its own, which says nothing of ours.
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM django_migrations WHERE app = 'taskyard'")
        assert livez(RequestFactory().get("/livez")).status_code == 200
        answer = readyz(RequestFactory().get("/readyz"))
    assert (answer.status_code, json.loads(answer.content)["status"]) == (200, "ok")


def test_a_probe_finds_the_rows_whatever_the_backend_needs(project: TenantProject) -> None:
    words = ["-m", "taskyard", "health", "--json", "--role", "worker"]
    done = nursery.run(words, env=project.environment(), cwd=ROOT, timeout=60)
    assert (done.returncode, json.loads(done.stdout)["status"], done.stderr) == (1, "fail", "")
