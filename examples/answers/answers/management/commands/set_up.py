"""Makes everything that the project needs; may run again at any time."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.core.management.color import no_style
from django.db import connection
from documents.feeds import FEEDS
from documents.models import Source

from answers.models import Question, Questionnaire
from answers.samples import QUESTIONNAIRES


def make_system_user() -> None:
    """Whose the runs of schedules are; nobody can log in as it."""
    model, key = get_user_model(), settings.TASKYARD["SCHEDULE_USER"]
    if not model.objects.filter(pk=key).exists():
        model.objects.create_user("system", pk=key)
        # A key that was chosen is not counted: the next user would get the same.
        with connection.cursor() as cursor:
            for sql in connection.ops.sequence_reset_sql(no_style(), [model]):
                cursor.execute(sql)


class Command(BaseCommand):
    help = "Migrates, makes the system user, and with --samples something to look at."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--samples", metavar="ADDRESS", help="of the web server, which serves the sample sources")
        parser.add_argument("--password", default="", help="of the sample user ada; without it she cannot log in")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=options["verbosity"])
        make_system_user()
        if options["samples"]:
            self.make_samples(options["samples"].rstrip("/"), options["password"])

    def make_samples(self, address: str, password: str) -> None:
        users = get_user_model().objects
        if not users.filter(username="ada").exists():
            users.create_superuser("ada", password=password or None)
        for name in FEEDS:
            Source.objects.update_or_create(name=name, defaults={"url": f"{address}/feeds/{name}/"})
        # Nobody listens there.
        Source.objects.get_or_create(name="archive", defaults={"url": "http://127.0.0.1:9/feeds/archive/"})
        for title, questions in QUESTIONNAIRES.items():
            questionnaire, _ = Questionnaire.objects.get_or_create(title=title)
            for number, text in enumerate(questions, 1):
                Question.objects.get_or_create(questionnaire=questionnaire, number=number, defaults={"text": text})
