"""Django as every contestant that uses it runs it; the environment says which one, and where its servers are."""

import json
import os
from datetime import timedelta
from typing import Any

from tests import servers

SECRET_KEY = "only for measuring"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The app of contestants.apps imports the one module that runs here: its tasks are declared by that.
INSTALLED_APPS = ["django.contrib.contenttypes", "bench.contestants.apps.Contestants"]
DATABASES: dict[str, Any] = {}
if os.environ.get("BENCH_DATABASE_URL"):
    DATABASES["default"] = servers.django_database(os.environ["BENCH_DATABASE_URL"])

for _key, _value in json.loads(os.environ.get("BENCH_SETTINGS") or "{}").items():
    if _key == "APPS":
        INSTALLED_APPS += _value
    elif _key == "DATABASE":
        DATABASES["default"] |= _value
    else:
        globals()[_key] = _value

if os.environ.get("BENCH_BROKER_URL"):
    CELERY_BROKER_URL = os.environ["BENCH_BROKER_URL"]

if "taskyard" in INSTALLED_APPS:
    TASKYARD = {
        key: {state: timedelta(seconds=seconds) for state, seconds in value.items()} if key == "RETENTION" else value
        for key, value in json.loads(os.environ.get("BENCH_TASKYARD") or "{}").items()
    }
