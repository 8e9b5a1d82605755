"""Our backend in the two places of Django's own ones, for their tests. Copied beside them."""

from copy import deepcopy
from typing import Any

from django.test import override_settings

from taskyard.backend import TaskyardBackend


class Immediate(TaskyardBackend):
    """Jobs run where they are enqueued."""

    def enqueue(self, *call: Any, **named: Any) -> Any:
        with override_settings(CELERY_TASK_ALWAYS_EAGER=True):
            return super().enqueue(*call, **named)


class Dummy(TaskyardBackend):
    """No worker runs; what was enqueued can be asked for."""

    def __init__(self, *said: Any, **named: Any) -> None:
        super().__init__(*said, **named)
        self.results: list[Any] = []

    def enqueue(self, *call: Any, **named: Any) -> Any:
        result = super().enqueue(*call, **named)
        self.results.append(deepcopy(result))
        return result

    def clear(self) -> None:
        from taskyard.models import Job

        self.results.clear()
        Job.objects.all().delete()
