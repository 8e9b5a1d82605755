"""What the new release has: one parameter more, with a default, one column more, one task more."""

from taskyard import current_job, task
from tests.soak.ledger import HISTORY, UNTIL_IT_ANSWERS
from tests.soak.models import Mark


@task(name="soak.greets", retry=UNTIL_IT_ANSWERS)
def greets(n: int, tone: str = "plain") -> str:
    with HISTORY.attempt():
        Mark.objects.get_or_create(job=current_job().id, defaults={"tone": tone})
        return f"{tone} {n}"


@task(name="soak.brand_new")
def brand_new(n: int) -> int:
    with HISTORY.attempt():
        return n
