"""The admin of queues: what stands in each, who works on it, what holds it back; pause, resume, limit, clear."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from taskyard.admin.fields import DurationField
from taskyard.admin.pages.asking import Done, NeededReasonForm, Question, answered, ask, open_verbs, require
from taskyard.admin.pages.lists import Listed
from taskyard.admin.pages.shown import ago
from taskyard.admin.verbs import actor_of
from taskyard.admin.words import previewed
from taskyard.jobs.pages.queues import MOST_COUNTED, QueueGlance
from taskyard.monitoring.words import duration
from taskyard.operations import queues
from taskyard.operations.bulk import order
from taskyard.outbox.models import QueueSetting, TenantSetting

_VERBS = ("pause", "resume", "limit", "clear")


class LimitForm(forms.Form):
    """How much of a queue may run; an empty field is no limit."""

    max_running = forms.IntegerField(
        required=False, min_value=0, label="At a time", help_text="Jobs running or in the broker; empty: any number."
    )
    rate = forms.FloatField(required=False, min_value=0, label="Starts", help_text="Empty: any number.")
    per = DurationField(required=False, label="In each", help_text="1 s, 1 min, 1 h; empty: 1 s.")


@admin.register(QueueSetting)
class QueueAdmin(Listed):
    """One page, which is the list."""

    permission = "view_queue"

    def get_urls(self) -> list[URLPattern]:
        """``<verb>/<queue>/``: the name of a queue may be anything."""
        pages = [
            path(f"{verb}/<path:queue>/", self.admin_site.admin_view(answered(getattr(self, verb))),
                 name=f"taskyard_queuesetting_{verb}")
            for verb in _VERBS
        ]  # fmt: skip
        return [*pages, *super().get_urls()]

    @answered
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """All of them."""
        actor = actor_of(request)
        settings = {row.name: row for row in QueueSetting.objects.all()}
        may = open_verbs(request, "queue", _VERBS)
        rows = [_line(each, settings.get(each.name), is_operator=actor.is_for_all) for each in queues.glance(actor)]
        jobs = reverse("admin:taskyard_job_changelist", current_app=self.admin_site.name)
        at = jobs if actor.may("view_job") else ""
        context = self.context(request, "Queues", is_list=True, rows=rows, may=may, most=MOST_COUNTED, jobs_at=at)
        return TemplateResponse(request, "admin/taskyard/queues.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The same: a queue has no page of its own."""
        return self.changelist_view(request)

    def pause(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Feeds nothing of it until it is resumed."""
        require(request, "queue", "pause")
        queues.check_names([queue])
        says = "What runs, runs on; the others wait in the table until it is resumed."

        def do(said: Mapping[str, Any]) -> Done:
            changed = queues.pause(actor_of(request), [queue], reason=said["reason"])
            return Done(f"Queue {queue} {'is paused' if changed else 'was paused already'}.", self.at("changelist"))

        question = Question(**self._about("Pause", queue), says=[says], form=NeededReasonForm)
        return ask(self, request, question, do)

    def resume(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Feeds it again."""
        require(request, "queue", "resume")
        queues.check_names([queue])

        def do(said: Mapping[str, Any]) -> Done:
            changed = queues.resume(actor_of(request), [queue], reason=said["reason"])
            return Done(f"Queue {queue} {'goes on' if changed else 'was not paused'}.", self.at("changelist"))

        question = Question(**self._about("Resume", queue), says=["Its jobs are fed to workers again."])
        return ask(self, request, question, do)

    def limit(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Says how much of it may run."""
        require(request, "queue", "limit")
        queues.check_names([queue])
        row = QueueSetting.objects.filter(name=queue).first()
        initial = {} if row is None else {
            "max_running": row.max_running, "rate": row.rate,
            "per": dt.timedelta(seconds=row.rate_seconds) if row.rate is not None else None,
        }  # fmt: skip

        def do(said: Mapping[str, Any]) -> Done:
            per = said["per"] or dt.timedelta(seconds=1)
            row = queues.limit(actor_of(request), queue, max_running=said["max_running"], rate=said["rate"], per=per)
            return Done(f"Queue {queue}: {limits(row) or 'no limit'}.", self.at("changelist"))

        says = ["Jobs that run already are left alone. Feeders notice within a second."]
        question = Question(**self._about("Limit", queue), says=says, form=LimitForm, initial=initial)
        return ask(self, request, question, do)

    def clear(self, request: HttpRequest, queue: str) -> HttpResponse:
        """Cancels everything that waits in it."""
        require(request, "queue", "clear")
        actor = actor_of(request)
        seen = order.preview(actor, queues.clearing(actor, queue))
        own = "" if actor.is_for_all else " of your own"
        wait = previewed(seen, f"job{own} waits", more=f"jobs{own} wait").capitalize()

        def do(said: Mapping[str, Any]) -> Done:
            job = order.start(actor, queues.clearing(actor, queue, reason=said["reason"]))
            at = reverse("admin:taskyard_job_change", args=[job.id], current_app=self.admin_site.name)
            return Done("It is on its way: this is the job that does it.", at)

        question = Question(
            **self._about("Clear", queue) | {"button": f"Cancel {previewed(seen, 'job', more='jobs')}"},
            is_grave=True, form=NeededReasonForm,
            says=[
                f"{wait} in it now. What waits is cancelled; what runs, runs on.",
                "A job of its own does it; cancel that one to abort it.",
            ],
        )  # fmt: skip
        return ask(self, request, question, do)

    def _about(self, verb: str, queue: str) -> dict[str, Any]:
        return {"title": f"{verb} {queue}", "button": verb, "back": self.at("changelist")}


def limits(row: QueueSetting | TenantSetting) -> str:
    """What is said of how much may run."""
    most = f"at most {row.max_running:,} at a time" if row.max_running is not None else ""
    rate = f"{row.rate:g} starts in {duration(row.rate_seconds)}" if row.rate is not None else ""
    return ", ".join(filter(None, (most, rate)))


def _line(each: QueueGlance, setting: QueueSetting | None, *, is_operator: bool) -> dict[str, Any]:
    is_paused = setting is not None and setting.paused_at is not None
    paused = setting if is_paused else None
    return {
        "row": each, "oldest": ago(each.oldest_due_at), "is_paused": is_paused,
        "paused_at": ago(paused.paused_at) if paused else "", "paused_by": paused.paused_by if paused else "",
        "reason": paused.reason if paused else "", "limits": limits(setting) if setting and is_operator else "",
    }  # fmt: skip
