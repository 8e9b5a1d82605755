"""``manage.py set_up``: everything a deploy needs, as often as you like."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Makes the folders, migrates, and makes the schedules as the code says."

    def handle(self, *_: Any, verbosity: int, **__: Any) -> None:
        for folder in (settings.DATA, settings.MEDIA_ROOT, settings.CONTAINERS):
            Path(folder).mkdir(parents=True, exist_ok=True)
        call_command("migrate", interactive=False, verbosity=verbosity)
        call_command("sync_schedules", "--backend=celery", stdout=self.stdout, stderr=self.stderr)
