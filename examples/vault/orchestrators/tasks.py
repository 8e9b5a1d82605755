"""The thin wrappers: everything that is done in the background is done through here."""

from typing import Any

from customers.models import Started
from django.db import transaction
from documents.models import Member

from orchestrators.registry import find_action
from taskyard import current_job, task
from taskyard.models import Job
from taskyard.sagas import get_orchestrator
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


@task(tenant_from="org", tenant_scope="tenant")
def start_saga(org: str, member: int, orchestrator: str, **inputs: Any) -> str:
    """Start what takes more than one place to do, in a member's name; the id of the saga.

    A name that nobody declared fails the job, and so does a member who is gone by now. From here on the saga's own
    jobs go on, in the same organisation.
    """
    found = get_orchestrator(orchestrator)
    who = Member.objects.get(pk=member)
    # In one transaction of the organisation's database: where this runs twice, it started once.
    with transaction.atomic(using=database_of()):
        started = Started.objects.filter(job=current_job().id).first()
        if started is None:
            run = found.using(user=who).start(org=org, **inputs)
            started = Started.objects.create(job=current_job().id, saga=run.id)
    return str(started.saga)


def submit(member: Member, orchestrator: str, action: str, **arguments: Any) -> Job:
    """Do this in the background, for the current organisation; raises ``UnknownAction`` at once."""
    find_action(orchestrator, action)
    return run_action.enqueue(
        org=current_tenant(), member=member.pk, orchestrator=orchestrator, action=action, **arguments
    )
