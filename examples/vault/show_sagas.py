"""Customers are taken in, from nothing to the end, in one command: ``python examples/vault/show_sagas.py``.

A billing service and a web server of its own, workers of which one is killed in the middle of a step; SQLite files in a
folder of its own, or databases on the PostgreSQL server of ``DATABASE_URL``. Prints what happened, and leaves nothing.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from show import data, set_up  # noqa: E402
from showing import project, until, worker  # noqa: E402

WORKER = ["-m", "taskyard", "worker", "-c", "2", "-l", "error", "-Q"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(method: str, address: str, said: Any = None) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer, also of a refusal."""
    body = None if said is None else json.dumps(said).encode()
    try:
        with urlopen(Request(address, body, {"Accept": "application/json"}, method=method), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except HTTPError as refusal:
        refusal.close()
    except OSError:
        return False
    return True


def mood(said: str) -> None:
    call("PUT", f"{os.environ['BILLING']}/mood", {"mood": said})


def books() -> dict[str, Any]:
    return call("GET", f"{os.environ['BILLING']}/books")[1]


def told(what: str, do: Callable[[], object]) -> None:
    try:
        do()
    except Exception as error:
        print(f"refused, {what}: {type(error).__name__}: {error}")
    else:
        print(f"NOT refused: {what}")


def begin() -> dict[str, Any]:
    """Nothing runs yet: no worker."""
    from customers.orchestrators import Onboarding, WordReport
    from django.db import transaction
    from documents.models import Member
    from orchestrators.tasks import start_saga

    from taskyard.sagas.models import Saga
    from taskyard.tenancy import tenant_context
    from taskyard.tenancy.databases import database_of

    card = {"card": "4000-1234"}
    with tenant_context("acme"):
        ada, leaver = Member.objects.order_by("pk")
        told("another organisation's", lambda: Onboarding.start(org="brill", name="Eve", plan="small", **card))
        told("the same, by the thin task", lambda: start_saga.enqueue("brill", 1, "onboarding"))
        told("no such input", lambda: Onboarding.start(org="acme", name="Eve", plan="small", colour="red", **card))
        try:
            with transaction.atomic(using=database_of()):
                Onboarding.using(user=ada).start(org="acme", name="Never", plan="small", **card)
                raise RuntimeError("the page failed")
        except RuntimeError:
            print("rolled back:", Saga.objects.count(), "sagas")
        with transaction.atomic(using=database_of()):
            large = Onboarding.using(user=ada).start(org="acme", name="Large", plan="large", **card)
        print("committed:", Saga.objects.count(), "saga, which is", large.state)
        left = Onboarding.using(user=leaver).start(org="acme", name="Left behind", plan="small", **card)
        leaver.delete()
        report = WordReport.using(user=ada).start(org="acme", top=2)
        nameless = start_saga.enqueue("acme", ada.pk, "onbording")
    thin = start_saga.enqueue("brill", 1, "onboarding", name="Thin", plan="small", **card)
    return {"large": large, "left": left, "report": report, "nameless": nameless, "thin": thin}


def kill_a_worker() -> None:
    """While the service has opened accounts and keeps the answers to itself."""
    mood("slow")
    with worker(HERE, *WORKER, "celery") as process:
        until(lambda: books()["holding"] == 2, "two workers wait for the service")
        process.kill()
    mood("well")
    print("killed with -9 in the middle of a step:", len(books()["accounts"]), "accounts are open")


def go_on(begun: dict[str, Any]) -> None:
    from taskyard.models import Job
    from taskyard.sagas.handle import Handle
    from taskyard.sagas.models import Saga
    from taskyard.tenancy import tenant_context

    large = begun["large"]
    until(lambda: large.state == "waiting", "the large one waits for its approval")
    with tenant_context("brill"):
        told("an approval from elsewhere", lambda: large.signal("approval", {"by": "bo"}))
    with tenant_context("acme"):
        print("approved:", large.signal("approval", {"by": "cy"}, key="mail-1"), end=", ")
        print("and once more:", large.signal("approval", {"by": "cy"}, key="mail-1"))
    until(lambda: not Saga.objects.active().exists() and not Job.objects.active().exists(), "all have ended")
    print("large:", large.state, large.result())
    told("the one whose member has left", begun["left"].result)
    print("report:", begun["report"].result())
    jobs = {name: Job.objects.get(id=begun[name].id) for name in ("nameless", "thin")}
    print("nameless:", jobs["nameless"].state, jobs["nameless"].error["message"])
    thin = Handle(jobs["thin"].result)
    print("thin:", thin.state, "in", thin.saga.tenant)
    found = books()
    print("accounts:", found["accounts"], "asked again with a key that is known:", found["repeated"] >= 2)


def compensate() -> None:
    """The service declines the card when all three places have something already."""
    from customers.orchestrators import Onboarding
    from documents.models import Member

    from taskyard.tenancy import tenant_context

    before = where()
    mood("declines")
    with tenant_context("acme"):
        run = Onboarding.using(user=Member.objects.first()).start(
            org="acme", name="Declined", plan="small", card="4000-9999"
        )
        until(lambda: run.saga.is_final, "it has ended")
        told("the one whose card is declined", run.result)
    print("undone in all three places:", run.state, where() == before)


def ask_the_web(address: str) -> None:
    """The same in a request, which gets the outcome."""
    said = {"name": "Inline", "plan": "small", "card": "4000-9999"}
    before = where()
    until(lambda: answers(address), "the web server answers")
    status, problem = call("POST", f"{address}/acme/customers", said)
    print("inline, declined:", status, problem["type"], problem["detail"], problem["saga_state"], where() == before)
    mood("well")
    status, found = call("POST", f"{address}/acme/customers", said)
    print("inline:", status, sorted(found))
    print("inline, to be approved:", call("POST", f"{address}/acme/customers", {**said, "plan": "large"})[0])
    print("no such orchestrator:", call("POST", f"{address}/acme/sagas/onbording", {})[0])
    print("no such organisation:", call("POST", f"{address}/dell/customers", said)[0])


def where() -> dict[str, Any]:
    """What stands in each of the three places."""
    from customers.models import Customer
    from django.conf import settings

    from taskyard.tenancy import tenant_context

    with tenant_context("acme"):
        rows = list(Customer.objects.order_by("pk").values_list("name", "active"))
    folders = sorted(str(path.relative_to(settings.FILES)) for path in settings.FILES.glob("*/*"))
    return {"rows": rows, "folders": folders, "accounts": books()["accounts"]}


def main() -> int:
    service, web = free_port(), free_port()
    os.environ |= {"BILLING": f"http://127.0.0.1:{service}", "WORKER_TIMEOUT_SECONDS": "2"}
    with ExitStack() as held:
        held.enter_context(data())
        held.enter_context(project(HERE, "config.settings"))
        held.enter_context(worker(HERE, "billing_service.py", str(service)))
        set_up()
        until(lambda: answers(f"{os.environ['BILLING']}/books"), "the billing service answers")
        begun = begin()
        kill_a_worker()
        held.enter_context(worker(HERE, *WORKER, "celery"))
        held.enter_context(worker(HERE, *WORKER, "duckdb"))
        held.enter_context(worker(HERE, "manage.py", "runserver", "--noreload", f"127.0.0.1:{web}"))
        go_on(begun)
        compensate()
        ask_the_web(f"http://127.0.0.1:{web}")
        print("acme:", where())
    return 0


if __name__ == "__main__":
    sys.exit(main())
