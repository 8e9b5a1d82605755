"""What each town has of its own."""

from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Note(models.Model):
    """What a job wrote down; ``town`` says who it believed to work for."""

    text = models.CharField(max_length=200)
    town = models.CharField(max_length=63)

    def __str__(self) -> str:
        return f"{self.town}: {self.text}"
