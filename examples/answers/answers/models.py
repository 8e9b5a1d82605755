"""Questions that somebody asked, and what was found for them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.urls import reverse

from taskyard import TrackedModel


class Questionnaire(TrackedModel):
    """Questions that are answered together. Its own columns say how far the first stage is."""

    title = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["title", "pk"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("questionnaire", args=[self.pk])


class Question(models.Model):
    questionnaire = models.ForeignKey(Questionnaire, models.CASCADE, related_name="questions")
    number = models.PositiveIntegerField()
    text = models.TextField()

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["questionnaire", "number"], name="answers_number_of_question")
        ]

    def __str__(self) -> str:
        return f"question {self.number}"


class Answer(models.Model):
    question = models.OneToOneField(Question, models.CASCADE, related_name="answer")
    #: The first stage: passages, by document.
    passages = models.JSONField(default=list)
    #: The second stage, made of them; empty until then.
    text = models.TextField(default="", blank=True)
    written_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.text or f"{len(self.passages)} passages"
