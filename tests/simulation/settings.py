"""Django as the simulation runs it: a database in memory, wiped for each world, so that a run touches nothing."""

SECRET_KEY = "only for the simulation"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["taskyard"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
#: Each world sets its own.
TASKYARD: dict[str, object] = {}
