"""Classes as a project on django-cron has them, but for the import."""

from taskyard.compat.django_cron import CronJobBase, Schedule


class Often(CronJobBase):
    schedule = Schedule(run_every_mins=20)
    code = "shop.often"

    def do(self) -> str:
        return "done"


class AtTimes(CronJobBase):
    ALLOW_PARALLEL_RUNS = True
    schedule = Schedule(run_at_times=["6:30", "18:30", "23:15"], run_weekly_on_days=[0, 6])
    code = "shop.at_times"


class Both(CronJobBase):
    schedule = Schedule(120, ["6:30"], retry_after_failure_mins=5, run_monthly_on_days=[1, 10])
    code = "shop.both"


class Odd(CronJobBase):
    schedule = Schedule(run_every_mins=7, run_weekly_on_days=[2])
    code = "shop.odd"


class Never(CronJobBase):
    schedule = Schedule()
    code = "shop.never"


class Nameless(CronJobBase):
    schedule = Schedule(run_every_mins=5)
