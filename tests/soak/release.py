"""Which release of the project's code this process runs: the old one, or the one that is being rolled out."""

import os

OLD, NEW = "old", "new"


def current() -> str:
    return os.environ.get("SOAK_RELEASE", OLD)


def is_new() -> bool:
    return current() == NEW
