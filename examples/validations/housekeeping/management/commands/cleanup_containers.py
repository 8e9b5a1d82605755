from housekeeping.command import TaskCommand
from housekeeping.tasks import remove_orphaned_containers


class Command(TaskCommand):
    help = "Removes containers whose run has ended."
    task = remove_orphaned_containers
