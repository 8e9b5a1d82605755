"""What a project's own tests may do with tenants: Django's test cases, with what the test kit allows."""

import unittest
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import TestCase, override_settings

from taskyard.errors import UnknownTenant
from taskyard.models import Job
from taskyard.tenancy import current_tenant, set_tenant, tenant_context
from taskyard.tenancy.databases import database_of, forget_tenants
from taskyard.testing import TaskyardTestMixin, as_tenant, tenants_allowed
from tests.tenancy import kinds
from tests.tenancy.shop import tasks

pytestmark = pytest.mark.usefixtures("tenants")

BY_DATABASE = pytest.mark.skipif(settings.KIND != "databases", reason="for TASKYARD_TEST_TENANCY=databases")


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def outcome(result: unittest.TestResult) -> tuple[int, list[str]]:
    return result.testsRun, [text for _, text in (*result.errors, *result.failures)]


def test_a_test_case_enqueues_and_runs_the_jobs_of_a_tenant() -> None:
    class Allowed(TestCase):
        def setUp(self) -> None:
            self.enterContext(tenants_allowed())

        def test_a_task_called_directly(self) -> None:
            with tenant_context("acme"):
                assert tasks.owned() == "acme"

        def test_a_job_is_enqueued_and_not_run(self) -> None:
            with tenant_context("acme"):
                job = tasks.visit.enqueue(text="later")
            assert (Job.objects.get(id=job.id).tenant, Job.objects.get(id=job.id).state) == ("acme", "pending")

        @override_settings(CELERY_TASK_ALWAYS_EAGER=True)
        def test_a_job_is_enqueued_and_run(self) -> None:
            with tenant_context("acme"):
                job = tasks.visit.enqueue(text="at once")
                assert current_tenant() == "acme"
            job.refresh_from_db()
            assert (job.state, job.result) == ("succeeded", "acme"), job.error
            assert [visit["text"] for visit in kinds.visits("acme")] == ["at once"]

    assert outcome(run(Allowed)) == (3, [])
    assert Job.objects.count() == 0


@BY_DATABASE
def test_without_it_a_test_case_refuses_the_databases_of_tenants() -> None:
    class Guarded(TestCase):
        def test_it(self) -> None:
            self.addCleanup(forget_tenants)
            with tenant_context("acme"):
                tasks.visit.enqueue()

    count, problems = outcome(run(Guarded))
    assert (count, len(problems)) == (1, 1)
    assert "'tenant:acme' are not allowed in this test" in problems[0]


@BY_DATABASE
def test_what_a_test_did_not_name_stays_guarded_and_the_guard_is_back_afterwards() -> None:
    class Others(TestCase):
        def test_another_alias(self) -> None:
            with tenants_allowed(), connections["orders"].cursor():
                pass

        def test_afterwards(self) -> None:
            self.addCleanup(forget_tenants)
            with tenants_allowed():
                connections[database_of("acme")].ensure_connection()
            connections[database_of("acme")].ensure_connection()

    count, problems = outcome(run(Others))
    assert (count, len(problems)) == (2, 2)
    assert any("'orders'" in text for text in problems)
    assert any("tenant:acme" in text for text in problems)


@BY_DATABASE
def test_it_leaves_no_alias_and_no_connection_behind() -> None:
    seen: list[Any] = []
    with tenants_allowed():
        wrapper = connections[database_of("acme")]
        wrapper.ensure_connection()
        seen.append(wrapper)
    assert seen[0].connection is None
    assert not [alias for alias in connections if alias.startswith("tenant:")]


def test_a_test_is_a_tenant_whatever_the_kind_and_its_jobs_are_that_tenants() -> None:
    class AsATenant(TaskyardTestMixin, TestCase):
        def setUp(self) -> None:
            self.become_tenant("acme")

        def test_its_jobs(self) -> None:
            job = tasks.visit.enqueue(text="mine")
            self.assert_enqueued(tasks.visit, {"text": "mine"}, tenant="acme")
            with self.assertRaisesRegex(AssertionError, "tenant='globex' was not enqueued"):
                self.assert_enqueued(tasks.visit, tenant="globex")
            self.run_jobs()
            self.assertEqual(self.assert_state(job, "succeeded").result, "acme")
            self.assertEqual([visit["text"] for visit in kinds.visits("acme")], ["mine"])
            self.assertEqual(current_tenant(), "acme")

        def test_what_a_second_run_leaves_with_the_tenant(self) -> None:
            with self.assertRaisesRegex(AssertionError, "(?s)not safe to run twice.*shop.Visit: .*twice"):
                self.assert_idempotent(tasks.visit, {"text": "twice"})

    assert outcome(run(AsATenant)) == (2, [])
    assert current_tenant() == ""


def test_a_tenant_that_does_not_exist_or_is_left_behind_fails_the_test() -> None:
    with pytest.raises(UnknownTenant), as_tenant("nobody-knows"):
        pass
    with pytest.raises(AssertionError, match="to be tenant 'acme' and ended as 'globex'"), as_tenant("acme"):
        set_tenant("globex")
    assert current_tenant() == ""
