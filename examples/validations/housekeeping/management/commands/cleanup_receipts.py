from housekeeping.command import TaskCommand
from housekeeping.tasks import clean_receipts


class Command(TaskCommand):
    help = "Deletes receipts of callbacks that are a month old."
    task = clean_receipts
