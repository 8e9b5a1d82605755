from housekeeping.command import TaskCommand
from housekeeping.tasks import mark_hung_runs_failed


class Command(TaskCommand):
    help = "Ends runs that nothing was heard of for half an hour."
    task = mark_hung_runs_failed
