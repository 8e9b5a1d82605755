"""The orchestrators, by name. Whoever asks for work names one; nobody imports one."""

from collections.abc import Callable
from typing import Any

from documents.models import Entry, Member

from taskyard.tenancy import current_tenant

_orchestrators: dict[str, type["Orchestrator"]] = {}


class UnknownAction(LookupError):
    """No orchestrator of an installed package has this action."""

    def __init__(self, orchestrator: str, action: str) -> None:
        super().__init__(f"There is no action {orchestrator}.{action}.")


class Orchestrator:
    """What can be done with one kind of thing, in a member's name; its public methods are its actions."""

    name = ""

    def __init__(self, member: Member) -> None:
        self.member = member

    def __init_subclass__(cls) -> None:
        _orchestrators[cls.name] = cls

    def _write_down(self, text: str) -> None:
        Entry.objects.create(text=text, member=self.member.email, organisation=current_tenant())


def find_action(orchestrator: str, action: str) -> Callable[..., Callable[..., Any]]:
    """What gives the action to a member; raises :class:`UnknownAction`."""
    known = _orchestrators.get(orchestrator)
    if known is None or action not in vars(known) or action.startswith("_"):
        raise UnknownAction(orchestrator, action)
    return lambda member: getattr(known(member), action)
