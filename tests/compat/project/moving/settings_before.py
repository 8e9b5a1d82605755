"""Before the move Taskyard is not installed."""

from test_app.settings import *  # noqa: F403
from test_app.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [name for name in _APPS if name != "taskyard"]
SHARED_APPS = [name for name in INSTALLED_APPS if name != "test_app.tenant"]
del TASKYARD  # noqa: F821
