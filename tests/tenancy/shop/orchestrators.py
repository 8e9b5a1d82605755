"""An orchestrator whose steps leave a trace of whom they ran for."""

from typing import Any

from taskyard.sagas import Context, Orchestrator, orchestrator, signal, step
from taskyard.tenancy import current_tenant
from tests.tenancy.shop.models import Visit


def leave(context: Context, text: str) -> str:
    assert context.tenant == current_tenant()
    Visit.objects.create(written_by=context.tenant, text=text)
    return context.tenant


@orchestrator("tour", tenant_from=lambda inputs: inputs["org"])
class Tour(Orchestrator):
    """One step in place, a signal, one that is a job of its own."""

    @step
    def enter(self, context: Context, org: str) -> str:
        return leave(context, "enter")

    @enter.rollback
    def leave_again(self, context: Context, result: Any) -> None:
        leave(context, "-enter")

    go = signal()

    @step(job=True)
    def look(self, context: Context, go: Any) -> str:
        if go == "fail":
            raise ValueError(go)
        return leave(context, "look")
