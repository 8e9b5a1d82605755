"""The app of the processes that have not moved yet: tenant-schemas-celery itself."""

import os

from tenant_schemas_celery.app import CeleryApp

app = CeleryApp("before", broker=os.environ["BROKER_URL"])
app.conf.update(imports=["moving.tasks"], broker_connection_retry_on_startup=True)
