"""A task as a management command: here and now, without a job, with what it counted in the end."""

from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from housekeeping.batches import words
from taskyard.tasks.task import Task


class TaskCommand(BaseCommand):
    """``--batch-size``, ``--all`` and ``--dry-run`` go to the task; exit code 1 if anything failed."""

    task: ClassVar[Task[..., dict[str, int]]]

    def add_arguments(self, parser: CommandParser) -> None:
        default = self.task.signature.parameters["batch_size"].default
        parser.add_argument("--batch-size", type=int, default=default, metavar="N", help=f"default: {default}")
        parser.add_argument("--all", action="store_true", dest="everything", help="go on until nothing is left")
        parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")

    def handle(self, *_: Any, batch_size: int, everything: bool, dry_run: bool, **__: Any) -> None:
        try:
            counts = self.task(batch_size=batch_size, everything=everything, dry_run=dry_run)
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from error
        self.stdout.write(words(counts))
        if counts.get("failed"):
            raise CommandError(f"{counts['failed']} failed; see the log.")
