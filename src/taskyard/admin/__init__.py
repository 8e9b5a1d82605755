"""Pages of Django's admin; found by its autodiscovery, and imported by nobody else."""

from taskyard.admin import records, schedules
from taskyard.admin.jobs import jobs
from taskyard.admin.pages import audit, batches, failures, queues, workers
from taskyard.admin.sagas import sagas
from taskyard.admin.tenants import tenants, tokens

__all__ = [
    "audit", "batches", "failures", "jobs", "queues", "records", "sagas", "schedules", "tenants", "tokens", "workers",
]  # fmt: skip
