"""Celery's own app, with a schedule in it."""

from celery import Celery
from celery.schedules import crontab

app = Celery("bad")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule = {  # bad: W007
    "nightly": {"task": "shop.tasks.nightly", "schedule": crontab(hour=3)},
}


@app.on_after_configure.connect
def more(sender, **kwargs):
    sender.add_periodic_task(60.0, lambda: None)  # bad: W007
