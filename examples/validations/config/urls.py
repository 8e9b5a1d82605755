"""The pages of the product would be here."""

from typing import Any

urlpatterns: list[Any] = []
