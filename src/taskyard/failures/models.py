"""Groups of failures, and one row for each job that stands failed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models

from taskyard.failures.states import State
from taskyard.jobs.models import Job
from taskyard.runtime.fields import JsonTextField


class FailureGroup(models.Model):
    """Failures with the same fingerprint, and what people said of them.

    No counts: those are asked of the failures. A failing job writes here only if the group is new, was not written for
    a day, or had been resolved or snoozed.
    """

    fingerprint = models.CharField(max_length=40, primary_key=True)
    task = models.CharField(max_length=255)
    error_type = models.CharField(max_length=255)
    #: Our code for how it came about; empty for an error of the body's.
    reason = models.CharField(max_length=100, default="")
    #: The message without what differs from job to job, and without secrets.
    message = models.TextField(default="")
    #: ``module:function`` of the project's deepest frames, the deepest last.
    frames = JsonTextField(default=list)
    first_seen_at = models.DateTimeField()
    #: ``TASKYARD["RELEASE"]`` when it was first seen.
    first_release = models.CharField(max_length=100, default="")
    #: Its last failure was at most a day after this: what keeps a group from being pruned.
    seen_at = models.DateTimeField(db_index=True)

    #: As it was said; one whose snooze is over is open (see :func:`taskyard.failures.states.state_now`).
    state = models.CharField(max_length=10, default=State.OPEN.value, choices=[(s.value, s.value) for s in State])
    #: Snoozed until this time; NULL: until another release than ``snoozed_release`` runs.
    snoozed_until = models.DateTimeField(null=True)
    snoozed_release = models.CharField(max_length=100, default="")
    #: Since when it fails again, though somebody had resolved it or a snooze of it was over.
    reopened_at = models.DateTimeField(null=True)
    note = models.TextField(default="")

    class Meta:
        app_label = "taskyard"
        indexes: ClassVar[list[Any]] = [models.Index(fields=["task"], name="taskyard_failuregroup_task")]

    def __str__(self) -> str:
        return f"{self.task}: {self.error_type} ({self.fingerprint})"


class Failure(models.Model):
    """A job that stands failed: written with that state, and gone with it (retried, discarded, pruned)."""

    # No constraints: a check would lock the group's row, which all that fail share.
    job = models.OneToOneField(Job, on_delete=models.CASCADE, primary_key=True, db_constraint=False)
    group = models.ForeignKey(
        FailureGroup, on_delete=models.CASCADE, related_name="failures", db_constraint=False, db_index=False
    )
    tenant = models.CharField(max_length=63, default="")
    failed_at = models.DateTimeField()

    class Meta:
        app_label = "taskyard"
        permissions: ClassVar[list[Any]] = [
            ("snooze_failure", "Can snooze failures"),
            ("resolve_failure", "Can resolve failures, and note something about them"),
        ]
        # All that is counted is read of these alone: everybody's, and one tenant's.
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["group", "failed_at", "tenant"], name="taskyard_failure_group"),
            models.Index(fields=["tenant", "group", "failed_at"], name="taskyard_failure_tenant"),
        ]

    def __str__(self) -> str:
        return f"job {self.job_id} of {self.group_id}"
