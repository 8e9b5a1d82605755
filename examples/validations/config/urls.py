"""Where the clocks of clouds call: each schedule at the path that it declares. Pages would be here as well."""

from taskyard.integrations.trigger.urls import declared_paths

urlpatterns = [*declared_paths()]
