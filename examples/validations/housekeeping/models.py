"""What housekeeping remembers."""

from django.db import models


class SentMail(models.Model):
    """A periodic e-mail that has gone out; its key says which."""

    key = models.CharField(max_length=200, unique=True)
    sent_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.key
