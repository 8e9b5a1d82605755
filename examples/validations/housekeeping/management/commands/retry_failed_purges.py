from housekeeping.command import TaskCommand
from housekeeping.tasks import retry_failed_purges


class Command(TaskCommand):
    help = "Tries again to remove files that could not be removed."
    task = retry_failed_purges
