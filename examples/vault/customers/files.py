"""The file store: a folder for each organisation, and one in it for each customer."""

import shutil
from pathlib import Path

from django.conf import settings

from taskyard.tenancy import current_tenant


def folder_of(name: str) -> Path:
    """Of the current organisation."""
    return Path(settings.FILES, current_tenant(), name)


def make(name: str, first: str) -> None:
    """The same again changes nothing."""
    folder_of(name).mkdir(parents=True, exist_ok=True)
    (folder_of(name) / "welcome.txt").write_text(first)


def remove(name: str) -> None:
    """Gone, whether it was there or not."""
    shutil.rmtree(folder_of(name), ignore_errors=True)
