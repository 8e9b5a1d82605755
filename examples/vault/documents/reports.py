"""Reports that members order for themselves: a row of theirs, and a schedule that belongs to it."""

from django.db import transaction

from documents.models import Report
from documents.tasks import send_report
from taskyard.schedules import Cron, Schedule
from taskyard.tenancy import current_tenant
from taskyard.tenancy.databases import database_of


def save_report(report: Report) -> Schedule:
    """Save it, with its schedule: the same one when it is edited; switching it off is a flag."""
    with transaction.atomic(using=database_of()):
        report.save()
        return Schedule.objects.define(
            # The schedule is the current organisation's own; its name says so too, for whoever reads lists of them.
            name=f"report-{report.pk}-{current_tenant()}",
            recurrence=Cron(report.cron, timezone="Europe/Berlin"),
            task=send_report,
            kwargs={"report": report.pk},
            subject=report,
            enabled=report.enabled,
            by=report.member,
        )
