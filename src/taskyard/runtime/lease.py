"""The right to play a role: one row, a time, a random owner."""

from __future__ import annotations

import datetime as dt
import uuid

from django.db import transaction
from django.db.models import F, Q

from taskyard.runtime.models import Lease
from taskyard.settings import get_settings

#: How long a lease lasts without renewal; its owner renews it after a third of that.
LEASE = dt.timedelta(seconds=6)


class Leases:
    """The leases of one agent. A lease limits wasted work; correctness never rests on it."""

    def __init__(self, owner: uuid.UUID) -> None:
        self.owner = owner
        self._held: dict[str, dt.datetime] = {}
        self._refused: dict[str, dt.datetime] = {}

    def hold(self, name: str, now: dt.datetime) -> str:
        """``"held"``, ``"taken"`` (from now on, where somebody else held it before) or ``""``."""
        until = self._held.get(name)
        if until is not None and now < until - LEASE * 2 / 3:
            return "held"
        if now < self._refused.get(name, now):
            return ""
        renewed = until is not None and until > now
        if self._acquire(name, now):
            self._held[name] = now + LEASE
            return "held" if renewed else "taken"
        self._held.pop(name, None)
        self._refused[name] = now + LEASE / 6
        return ""

    def _acquire(self, name: str, now: dt.datetime) -> bool:
        rows = Lease.objects.using(get_settings().database)
        free = Q(owner=self.owner) | Q(expires_at__lt=now)
        if rows.filter(free, name=name).update(owner=self.owner, expires_at=now + LEASE, term=F("term") + 1):
            return True
        if rows.filter(name=name).exists():
            return False
        with transaction.atomic(using=get_settings().database):
            rows.bulk_create([Lease(name=name, owner=self.owner, expires_at=now + LEASE)], ignore_conflicts=True)
        return rows.filter(name=name, owner=self.owner).exists()

    def release_all(self) -> None:
        """Give every lease back, so that the next owner need not wait."""
        Lease.objects.using(get_settings().database).filter(owner=self.owner, name__in=list(self._held)).delete()
        self._held.clear()
