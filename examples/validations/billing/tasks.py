"""Counting what customers use, and telling it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import Count
from django.utils import timezone
from housekeeping.batches import Counts, HowMuch, do_each, parts
from validations.models import Run

from billing.models import Usage
from taskyard import task

_DAY = dt.timedelta(days=1)


@task
def meter_usage(batch_size: int = 100, everything: bool = False, dry_run: bool = False) -> Counts:
    """Yesterday's runs of each customer; counted again it is the same row."""
    how, today = HowMuch(batch_size, everything, dry_run), timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    ended = Run.objects.filter(ended_at__gte=today - _DAY, ended_at__lt=today)
    used = list(ended.values("submission__customer").annotate(runs=Count("pk")).order_by("submission__customer"))

    def write(line: dict[str, Any]) -> None:
        Usage.objects.update_or_create(
            customer=line["submission__customer"], day=(today - _DAY).date(), defaults={"runs": line["runs"]}
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
