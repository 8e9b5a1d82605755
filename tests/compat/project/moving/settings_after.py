"""While it moves: messages of those that have not are adopted, and a queue is theirs."""

from test_app.settings import *  # noqa: F403

TASKYARD = {
    "TENANCY": "schemas",
    "CELERY_APP": "moving.after:app",
    "SCHEMA_HEADER": True,
    "ADOPT_FOREIGN": True,
    "HANDOVER": ["not-moved"],
}
