"""A package downstream: what the product does not know of."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from housekeeping.mails import register_mails

        from billing import tasks
        from taskyard.schedules import Cron, register

        register(
            "billing-meter-usage", Cron("30 0 * * *"), task=tasks.meter_usage, kwargs={"everything": True},
            description="Counts what each customer used, up to yesterday.",
        )  # fmt: skip
        register_mails("billing", tasks.usage_mails)
