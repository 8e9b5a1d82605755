"""What is wrong with options: E002, W001, W003, W008, W009, W015, W016, W017, W019."""

import sys
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
# One folder on the path, and its parent too: a module has two names.
sys.path.insert(0, str(BASE_DIR / "apps"))

SECRET_KEY = "only for tests"
ROOT_URLCONF = "bad.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = ["early", "django.contrib.contenttypes", "django.contrib.auth", "taskyard", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}

CELERY_BROKER_URL = "redis://localhost:6379/0"
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 30}
CELERY_RESULT_BACKEND = "rpc://"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_SERIALIZER = "pickle"
CELERY_ACCEPT_CONTENT = ["pickle", "json"]
CELERY_TASK_ROUTES = {"shop.tasks.*": {"queue": "shp"}}
TASKYARD = {"QUEUES": ["shop", "mail"]}
