"""``manage.py start``: one image, one command, and the role from ``APP_ROLE``."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

ROLES = {
    # Where customers are, your server for WSGI or ASGI.
    "web": ["runserver", "--noreload", "0.0.0.0:8000"],
    # Any number of them; each carries a scheduler.
    "worker": ["taskyard", "worker"],
    # Only if workers are to be kept free of it: TASKYARD["AGENTS"] = False.
    "scheduler": ["taskyard", "scheduler"],
}


class Command(BaseCommand):
    help = "Becomes what APP_ROLE says: web, worker or scheduler."

    def handle(self, *_: Any, **__: Any) -> None:
        # In its place, so that signals reach it.
        os.execv(sys.executable, [sys.executable, sys.argv[0], *ROLES[settings.APP_ROLE]])
