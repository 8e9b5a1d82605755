"""``manage.py taskyard tenants run -- count_documents``, and a line of the crontab."""

from django.core.management.base import BaseCommand

from documents.models import Document
from taskyard.tenancy import current_tenant


class Command(BaseCommand):
    help = "Count the documents of the current organisation."

    def handle(self, **options: object) -> None:
        self.stdout.write(f"{current_tenant()}: {Document.objects.count()} documents")
