"""The admin of workers: who is there, what each consumes and runs, when it was last heard of; and stopping one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from taskyard.admin.pages.asking import Done, Question, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.pages.shown import ago, badge
from taskyard.admin.verbs import actor_of
from taskyard.errors import NotFound
from taskyard.operations import workers
from taskyard.runtime.models import Worker


@admin.register(Worker)
class WorkerAdmin(Listed):
    """One page, which is the list: there are no more workers than fit on it."""

    permission = "view_worker"

    def get_urls(self) -> list[URLPattern]:
        """``<id>/stop/``, before Django's own."""
        view = self.admin_site.admin_view(self.stop)
        return [path("<uuid:worker>/stop/", view, name="taskyard_worker_stop"), *super().get_urls()]

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """All of them."""
        rows = [
            {
                "row": each, "state": badge(each.state), "heard": ago(each.heartbeat_at),
                "started": ago(each.started_at), "may_stop": each.state == "alive",
            }
            for each in workers.list_(actor_of(request))
        ]  # fmt: skip
        may_stop = bool(open_verbs(request, "worker", ["stop"]))
        context = self.context(request, "Workers", is_list=True, rows=rows, may_stop=may_stop)
        return TemplateResponse(request, "admin/taskyard/workers.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The same: a worker has no page of its own."""
        return self.changelist_view(request)

    @answered
    def stop(self, request: HttpRequest, worker: uuid.UUID) -> HttpResponse:
        """Asks it to stop as SIGTERM does."""
        require(request, "worker", "stop")
        actor = actor_of(request)
        found = next((each for each in workers.list_(actor) if each.id == worker), None)
        if found is None:
            raise NotFound("worker", worker)
        question = Question(
            title=f"Stop {found.name}", button="Stop it", back=self.at("changelist"), is_grave=True,
            says=["It takes nothing new, finishes what runs, and ends. Only what started it starts another one."],
            about=[(f"{found.name}, which runs {found.running} of {found.slots}", "")],
        )  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            workers.stop(actor, worker, reason=said["reason"])
            return Done(f"Worker {found.name} was told to stop.", self.at("changelist"))

        return ask(self, request, question, do)
