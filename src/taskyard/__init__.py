"""Background work for Django, single- and multi-tenant, on Celery: the database holds every job."""
