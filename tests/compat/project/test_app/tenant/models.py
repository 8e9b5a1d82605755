"""What belongs to a tenant."""

from django.db import models


class DummyModel(models.Model):
    name = models.TextField()
