from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from answers.models import Question, Questionnaire
from answers.starting import AlreadyRunning, start_answers


class QuestionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Question
    extra = 1


@admin.register(Questionnaire)
class QuestionnaireAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("title", "state", "processed", "total", "failed")
    fields = ("title",)
    inlines = (QuestionInline,)
    actions = ("answer",)

    @admin.action(description="Answer the selected questionnaires")
    def answer(self, request: HttpRequest, questionnaires: QuerySet[Questionnaire]) -> None:
        for questionnaire in questionnaires:
            try:
                start_answers(questionnaire, created_by=request.user)
            except AlreadyRunning as running:
                self.message_user(request, str(running), messages.WARNING)
            else:
                self.message_user(request, f"{questionnaire}: its answers were started.", messages.SUCCESS)
