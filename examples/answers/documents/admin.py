from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from documents import tasks
from documents.models import Document, Source


@admin.register(Source)
class SourceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "url", "state", "checked_at", "check_error")
    fields = ("name", "url")
    actions = ("sync",)

    @admin.action(description="Sync the selected sources")
    def sync(self, request: HttpRequest, sources: QuerySet[Source]) -> None:
        for source in sources:
            job = source.enqueue(tasks.sync_source.using(created_by=request.user), source_id=source.pk)
            if job.created:
                self.message_user(request, f"{source}: the sync was started.", messages.SUCCESS)
            else:
                self.message_user(request, f"{source}: a sync is already running.", messages.WARNING)


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("title", "source", "created_at")
    list_filter = ("source",)
    search_fields = ("title", "text")
    fields = ("title", "text", "source")
