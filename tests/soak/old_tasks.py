"""What the release that is being replaced has."""

from taskyard import current_job, task
from tests.soak.ledger import HISTORY, UNTIL_IT_ANSWERS
from tests.soak.models import Mark


@task(name="soak.greets", retry=UNTIL_IT_ANSWERS)
def greets(n: int) -> int:
    with HISTORY.attempt():
        Mark.objects.get_or_create(job=current_job().id)
        return n
