"""Orders."""

from django.db import models


class Order(models.Model):
    state = models.CharField(max_length=20, default="new")
    task_id = models.CharField(max_length=64, default="")
    tries = models.IntegerField(default=0)
