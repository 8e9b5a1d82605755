"""A lending library for several towns, a schema for each, with django-tenants."""

import os
from datetime import timedelta
from urllib.parse import unquote, urlsplit

_url = urlsplit(os.environ.get("DATABASE_URL", "postgresql://postgres@127.0.0.1:5432/taskyard_library"))

SECRET_KEY = "only for an example"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "HOST": _url.hostname,
        "PORT": _url.port or 5432,
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "NAME": _url.path.lstrip("/"),
        "CONN_HEALTH_CHECKS": True,
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "taskyard", "customers"]
TENANT_APPS = ["books"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "customers.Town"
TENANT_DOMAIN_MODEL = "customers.Domain"

# Seconds; nothing here takes that long, and what hangs must not hold a worker for ever.
CELERY_TASK_TIME_LIMIT = 300

TASKYARD = {
    "TENANCY": "schemas",
    "TENANTS": "customers.models.towns",
    "TENANT_CACHE": timedelta(seconds=30),
    "TENANT_WAIT": timedelta(seconds=1),
}
