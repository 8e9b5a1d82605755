"""What customers used."""

from typing import ClassVar

from django.db import models


class Usage(models.Model):
    """How many runs of a customer ended on a day."""

    customer = models.CharField(max_length=100)
    day = models.DateField()
    runs = models.PositiveIntegerField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["customer", "day"], name="billing_usage_day")]

    def __str__(self) -> str:
        return f"{self.customer}, {self.day}: {self.runs}"
