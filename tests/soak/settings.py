"""The project of the soak: that of the tests, with the soak's own app."""

from tests.settings import *  # noqa: F403 - a settings module is made of another one
from tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.soak"]
