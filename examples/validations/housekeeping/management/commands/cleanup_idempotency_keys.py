from housekeeping.command import TaskCommand
from housekeeping.tasks import clean_idempotency_keys


class Command(TaskCommand):
    help = "Deletes idempotency keys that have expired."
    task = clean_idempotency_keys
