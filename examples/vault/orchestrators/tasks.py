"""The thin wrapper: everything that is done in the background is done through here."""

from typing import Any

from django.db import transaction
from documents.models import Member

from orchestrators.registry import find_action
from taskyard import task
from taskyard.models import Job
from taskyard.tenancy import current_tenant
from taskyard.tenancy.databases import database_of


@task(tenant_from="org", tenant_scope="tenant")
def run_action(org: str, member: int, orchestrator: str, action: str, **arguments: Any) -> Any:
    """One action of one orchestrator, in a member's name, in the database of their organisation.

    Taskyard has entered ``org`` before this runs. A member who is gone by now fails the job; so does an action that
    went with its plugin.
    """
    found = find_action(orchestrator, action)
    who = Member.objects.get(pk=member)
    # All that an action does, and all that it enqueues, or nothing.
    with transaction.atomic(using=database_of()):
        return found(who)(**arguments)


def submit(member: Member, orchestrator: str, action: str, **arguments: Any) -> Job:
    """Do this in the background, for the current organisation; raises ``UnknownAction`` at once."""
    find_action(orchestrator, action)
    return run_action.enqueue(
        org=current_tenant(), member=member.pk, orchestrator=orchestrator, action=action, **arguments
    )
