"""A table of the project's own, which the new release gives one more column: old code goes on writing without it."""

from django.db import models

from tests.soak import release


class Mark(models.Model):
    job = models.UUIDField(primary_key=True)
    if release.is_new():
        tone = models.CharField(max_length=20, null=True)

    class Meta:
        app_label = "soak"

    def __str__(self) -> str:
        return str(self.job)
