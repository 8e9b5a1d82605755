"""One database under three aliases, apps of public and of the tenants."""

import json
import os

SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    alias: {**json.loads(os.environ["COMPAT_DATABASE"]), "ENGINE": "django_tenants.postgresql_backend"}
    for alias in ("default", "otherdb1", "otherdb2")
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "taskyard", "test_app.shared"]
TENANT_APPS = ["test_app.tenant"]
if os.environ.get("COMPAT_BEAT"):
    # One migration in the place of its twenty: each tenant has them.
    MIGRATION_MODULES = {"django_celery_beat": "beat_migrations"}
    SHARED_APPS, TENANT_APPS = [*SHARED_APPS, "django_celery_beat"], [*TENANT_APPS, "django_celery_beat"]
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS]))
TENANT_MODEL = "shared.Client"
TENANT_DOMAIN_MODEL = "shared.Domain"

CELERY_TASK_TENANT_CACHE_SECONDS = 10
TASKYARD = {
    "TENANCY": "schemas",
    "CELERY_APP": "tenant_schemas_celery.test_app:app",
    "SCHEMA_HEADER": True,
}
