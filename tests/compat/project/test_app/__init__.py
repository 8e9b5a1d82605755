"""The Django project that the suite of tenant-schemas-celery asks for, under the names it asks for."""
