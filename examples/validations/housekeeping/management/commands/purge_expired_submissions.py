from housekeeping.command import TaskCommand
from housekeeping.tasks import purge_expired_submissions


class Command(TaskCommand):
    help = "Removes customers' files that have expired."
    task = purge_expired_submissions
