"""Who acts: with which permissions, on whose jobs, and from where."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from taskyard.errors import NotAllowed, NotFound
from taskyard.settings import get_settings
from taskyard.tenancy.context import current_tenant, find_tenancy
from taskyard.tenancy.directory import name_of

Rows = TypeVar("Rows", bound=Any)

#: Of Django's permissions of this app.
APP = "taskyard"
PAYLOAD = "view_payload"


def _nothing(codename: str) -> bool:
    return False


def _everything(codename: str) -> bool:
    return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who looks or acts. To one of a tenant, whatever is another's does not exist."""

    #: As it is shown: a user's name, an account of the operating system, ``system``.
    name: str
    #: Whose jobs are seen and steered: one tenant's, those of none (the empty name), or all of them (None).
    tenant: str | None = None
    #: The primary key of a user of Django; empty for anybody else.
    user: str = ""
    #: The part that is shown of the token it acts by; empty: by none.
    token: str = ""
    #: From where: ``cli``, ``admin``, ``api``, ``console``, ``job``, or a word of the project's own.
    via: str = ""
    #: The network address the request came from.
    address: str = ""
    #: Whether somebody has a permission, by its codename.
    may: Callable[[str], bool] = dataclasses.field(default=_nothing, repr=False, compare=False)

    @classmethod
    def system(cls, name: str = "system", *, via: str = "", address: str = "") -> Actor:
        """An operator with every right over all tenants, for code that answers for itself."""
        return cls(name=name, via=via, address=address, may=_everything)

    @classmethod
    def of_user(cls, user: Any, *, via: str = "", address: str = "") -> Actor:
        """A user of Django, with its permissions now and the tenant that ``TASKYARD["TENANT_OF_USER"]`` says.

        Where a tenant is current nobody sees more than that one; a user of another one may do nothing there. Without
        the setting, in a project with tenants, superusers see all and others what belongs to no tenant.
        """
        own, current = _tenant_of(user), current_tenant()
        is_elsewhere = bool(current) and own not in (None, current)

        def may(codename: str) -> bool:
            return not is_elsewhere and bool(user.has_perm(f"{APP}.{codename}"))

        return cls(
            name=user.get_username() or "nobody", user="" if user.pk is None else str(user.pk), via=via, may=may,
            address=address, tenant=own if own is not None else current or None,
        )  # fmt: skip

    @classmethod
    def of_request(cls, request: Any, *, via: str = "") -> Actor:
        """The user of a request, from the address the server says; behind a proxy that is a middleware's to mend."""
        return cls.of_user(request.user, via=via, address=request.META.get("REMOTE_ADDR") or "")

    @property
    def by(self) -> str:
        """How rows are signed: a user's primary key, or the name of anybody else."""
        return (self.user or self.name)[:150]

    @property
    def sees_payload(self) -> bool:
        """Whether arguments, results, checkpoints, and the words of errors are shown."""
        return self.may(PAYLOAD)

    @property
    def is_for_all(self) -> bool:
        """Whether it is an operator of all tenants."""
        return self.tenant is None

    def require(self, codename: str) -> None:
        """Raise :class:`~taskyard.errors.NotAllowed` without that permission."""
        if not self.may(codename):
            raise NotAllowed(self.name, codename)

    def require_all_tenants(self, codename: str) -> None:
        """The same, and it must be an operator of all tenants: what is said of queues and shares concerns everybody."""
        self.require(codename)
        if not self.is_for_all:
            raise NotAllowed(self.name, codename, "it concerns all tenants, and is for those who work for all of them")

    def within(self, tenant: str | None) -> Actor:
        """The same, keeping to one tenant; None changes nothing.

        Raises :class:`~taskyard.errors.NotFound` where it is not its own: also if there is none of that name.
        """
        if tenant is None or tenant == self.tenant:
            return self
        if not self.is_for_all:
            raise NotFound("tenant", tenant)
        return dataclasses.replace(self, tenant=tenant)

    def owns(self, tenant: str) -> bool:
        """Whether what belongs to that tenant exists to it."""
        return self.tenant is None or self.tenant == tenant


def _tenant_of(user: Any) -> str | None:
    ask = get_settings().tenant_of_user
    if ask is not None:
        found = ask(user)
        return None if found is None else name_of(found)
    # Nobody said whose users these are: whoever is within a tenant sees that, and outside of all tenants not theirs.
    sees_all = find_tenancy() is None or current_tenant() or user.is_superuser
    return None if sees_all else ""
