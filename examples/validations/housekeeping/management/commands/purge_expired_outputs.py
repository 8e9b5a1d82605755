from housekeeping.command import TaskCommand
from housekeeping.tasks import purge_expired_outputs


class Command(TaskCommand):
    help = "Removes outputs of validations that have expired."
    task = purge_expired_outputs
