"""What a page of an organisation asks for. Who is logged in is not what this is about: the first member is."""

import json

from django.http import HttpRequest, JsonResponse
from documents.models import Member
from orchestrators.tasks import start_saga

from customers.orchestrators import Onboarding
from taskyard.errors import SagaNotFinished
from taskyard.sagas import get_orchestrator
from taskyard.tenancy import tenant_context


def onboard(request: HttpRequest, org: str) -> JsonResponse:
    """Take in a customer while they wait. What goes wrong is answered by the middleware."""
    said = json.loads(request.body)
    with tenant_context(org):
        run = Onboarding.using(user=Member.objects.first()).run_inline(org=org, **said)
        try:
            return JsonResponse({"saga": str(run.id), **run.result()}, status=201)
        except SagaNotFinished:
            # Somebody has to approve it.
            return JsonResponse({"saga": str(run.id)}, status=202)


def start(request: HttpRequest, org: str, name: str) -> JsonResponse:
    """Start any saga by the name of its orchestrator, in the background."""
    get_orchestrator(name)
    said = json.loads(request.body)
    with tenant_context(org):
        job = start_saga.enqueue(org, Member.objects.first().pk, name, **said)
    return JsonResponse({"job": str(job.id)}, status=202)
