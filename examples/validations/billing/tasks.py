"""Counting what customers use, and telling it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils import timezone
from housekeeping.batches import Counts, HowMuch, do_each, parts
from validations.models import Run

from billing.models import Usage
from taskyard import task

_DAY, _MONTH = dt.timedelta(days=1), dt.timedelta(days=31)


@task
def meter_usage(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """Runs of each customer and day, up to yesterday. The last month is counted again: downtime leaves no day out."""
    how = HowMuch(batch_size, everything, dry_run)
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    ended = Run.objects.filter(ended_at__gte=today - _MONTH, ended_at__lt=today)
    of_day = ended.annotate(day=TruncDate("ended_at")).values("submission__customer", "day")
    used = list(of_day.annotate(runs=Count("pk")).order_by("day", "submission__customer"))

    def write(line: dict[str, Any]) -> None:
        Usage.objects.update_or_create(
            customer=line["submission__customer"], day=line["day"], defaults={"runs": line["runs"]}
        )

    return do_each(parts(used, how), write, how)


def usage_mails(now: dt.datetime) -> Iterator[tuple[str, EmailMessage]]:
    """One a day, once yesterday was counted."""
    yesterday = (now - _DAY).date()
    if used := list(Usage.objects.filter(day=yesterday).order_by("customer")):
        lines = [f"{usage.customer}: {usage.runs}" for usage in used]
        yield (
            f"usage:{yesterday}",
            EmailMessage(f"Runs of {yesterday}", "\n".join(lines), None, [settings.BILLING_EMAIL]),
        )
