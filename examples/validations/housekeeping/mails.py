"""Periodic e-mails: packages register what they want to send, and nothing is sent without them."""

import datetime as dt
from collections.abc import Callable, Iterable

from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from housekeeping.models import SentMail

#: Given the time, what is to be sent by now: a key that says which mail it is, ``"digest:2027-02-01"``, and the mail.
Handler = Callable[[dt.datetime], Iterable[tuple[str, EmailMessage]]]

_handlers: dict[str, Handler] = {}


def register_mails(name: str, handler: Handler) -> None:
    """Called in a package's ``AppConfig.ready()``."""
    if _handlers.setdefault(name, handler) is not handler:
        raise ValueError(f"Two handlers of e-mails are called {name!r}; give one of them another name.")


def handlers() -> list[str]:
    return sorted(_handlers)


def send_mails_of(name: str) -> None:
    """Send what was not sent yet.

    The row of a mail commits when the mail is out, so two at once send it once. After a crash in between it goes out
    again.
    """
    for key, mail in _handlers[name](timezone.now()):
        with transaction.atomic():
            _, is_new = SentMail.objects.get_or_create(key=f"{name}:{key}")
            if is_new:
                mail.send()
