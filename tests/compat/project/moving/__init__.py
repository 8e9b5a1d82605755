"""One project before and after its move from tenant-schemas-celery: the app differs, the tasks do not."""
