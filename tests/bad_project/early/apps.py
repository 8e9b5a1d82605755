"""An app that wants Celery before Taskyard is there."""

from celery import current_app
from django.apps import AppConfig


class EarlyConfig(AppConfig):
    name = "early"

    def ready(self):
        str(current_app.main)
