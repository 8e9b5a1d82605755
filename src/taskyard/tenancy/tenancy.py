"""What each way of separating tenants can do: the one contract, whatever the kind."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """How a tenant is entered, where a task wants it differently than the settings say."""

    #: Aliases that are switched (schemas only); None: ``TASKYARD["TENANT_DATABASES"]``.
    databases: tuple[str, ...] | None = None
    #: How long what is known of the tenant may be old; None: ``TASKYARD["TENANT_CACHE"]``.
    cache: dt.timedelta | None = None


#: As the settings say.
USUAL = Entry()


class Listed(NamedTuple):
    """A tenant as a listing of all of them has it."""

    name: str
    #: Why it cannot be worked for; empty: it is ready.
    why_not: str = ""


class Tenancy(Protocol):
    """One kind of tenancy. What is current belongs to the context (thread, asyncio task), never to the process."""

    def current(self) -> str:
        """The name of the current tenant; empty outside of all of them."""
        ...

    def become(self, tenant: str, entry: Entry = USUAL) -> Any:
        """Make a tenant the current one, or nobody for the empty name; what was there, for :meth:`restore`.

        Raises :class:`~taskyard.errors.UnknownTenant` and :class:`~taskyard.errors.TenantNotReady`; then nothing has
        changed. Never leaves the previous tenant, or a shared place, in the place of one that cannot be entered.
        """
        ...

    async def abecome(self, tenant: str, entry: Entry = USUAL) -> Any:
        """The same in an event loop, for the current task of it alone: others may share its database thread."""
        ...

    def restore(self, previous: Any) -> None:
        """Make exactly that current again which was before. Never raises."""
        ...

    def listed(self) -> Iterator[Listed]:
        """All tenants that can be worked for, and those that cannot as far as they are known, with the reason."""
        ...

    def ready(self) -> Iterator[str]:
        """The names of all tenants that can be worked for."""
        ...
