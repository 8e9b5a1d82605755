from housekeeping.command import TaskCommand
from housekeeping.tasks import clean_sessions


class Command(TaskCommand):
    help = "Deletes sessions that have expired."
    task = clean_sessions
