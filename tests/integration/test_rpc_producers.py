"""Senders whose results come over the broker (``rpc://``)."""

import pytest

from taskyard.celery import Celery
from taskyard.models import Job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.timeout(30)
def test_a_send_gives_back_the_connection_on_which_its_reply_queue_was_declared(redis_url: str) -> None:
    app = Celery("rpc", broker=redis_url, backend="rpc://", set_as_current=False)
    app.conf.broker_pool_limit = 1
    try:
        for _ in range(3):
            app.send_task("tests.app.tasks.add", (1, 2))
    finally:
        app.close()
    assert Job.objects.count() == 3
