"""What each organisation has in a database of its own."""

from django.db import models


class Member(models.Model):
    """Somebody who works there, and in whose name things are done."""

    email = models.EmailField(unique=True)

    def __str__(self) -> str:
        return self.email


class Document(models.Model):
    title = models.CharField(max_length=200)
    words = models.TextField()
    published = models.BooleanField(default=False)
    #: Written by a plugin.
    labels = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.title


class Report(models.Model):
    """What a member wants to be told again and again, and when; see ``documents.reports``."""

    member = models.ForeignKey(Member, models.CASCADE)
    word = models.CharField(max_length=200)
    cron = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"documents with {self.word}"


class Entry(models.Model):
    """What was done; ``organisation`` says for whom the code believed to do it."""

    text = models.CharField(max_length=200)
    member = models.CharField(max_length=200)
    organisation = models.CharField(max_length=50)

    def __str__(self) -> str:
        return f"{self.organisation}: {self.text}"
