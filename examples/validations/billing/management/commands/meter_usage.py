from housekeeping.command import TaskCommand

from billing.tasks import meter_usage


class Command(TaskCommand):
    help = "Counts what each customer used yesterday."
    task = meter_usage
