from housekeeping.command import TaskCommand

from billing.tasks import meter_usage


class Command(TaskCommand):
    help = "Counts what each customer used, up to yesterday."
    task = meter_usage
