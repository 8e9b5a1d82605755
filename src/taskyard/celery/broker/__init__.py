"""The database broker: a kombu transport on the Django database."""

from __future__ import annotations

#: The control database as broker; ``taskyard://alias`` names another one.
URL = "taskyard://"


def register() -> None:
    """Make ``taskyard://`` (control database) and ``taskyard://alias`` known to kombu; may be called again."""
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["taskyard"] = "taskyard.celery.broker.transport:Transport"


def is_database(url: str | None) -> bool:
    """Whether a broker URL names the database broker."""
    return not url or url.partition("://")[0] == "taskyard"
