"""The app of those that have: another import."""

import os

from taskyard.compat.tenant_schemas_celery.app import CeleryApp

app = CeleryApp("after", broker=os.environ["BROKER_URL"])
app.conf.update(imports=["moving.tasks"])
