import uuid

from django.db import migrations, models

import taskyard.runtime.fields
from taskyard.jobs.indexes import create_batch, drop_batch


class Migration(migrations.Migration):
    dependencies = [("taskyard", "0004_operations")]
    operations = [
        migrations.CreateModel(
            name="Batch",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=200)),
                ("tenant", models.CharField(default="", max_length=63)),
                (
                    "state",
                    models.CharField(
                        choices=[("running", "running"), ("completed", "completed"), ("cancelled", "cancelled")],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("lock", models.CharField(max_length=64, null=True, unique=True)),
                ("is_sealed", models.BooleanField(default=False)),
                ("total", models.IntegerField(default=0)),
                ("succeeded", models.IntegerField(default=0)),
                ("failed", models.IntegerField(default=0)),
                ("cancelled", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField()),
                ("updated_at", models.DateTimeField()),
                ("stale_at", models.DateTimeField()),
                ("stale_after", models.FloatField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("subject_type", models.CharField(default="", max_length=100)),
                ("subject_id", models.CharField(default="", max_length=100)),
                ("created_by", models.CharField(default="", max_length=150)),
                ("parent", models.UUIDField(null=True)),
                ("callbacks", taskyard.runtime.fields.JsonTextField(default=dict)),
                ("told", taskyard.runtime.fields.JsonTextField(default=dict)),
            ],
            options={
                "verbose_name_plural": "batches",
                "permissions": [("cancel_batch", "Can cancel batches")],
                "indexes": [
                    models.Index(fields=["created_at"], name="taskyard_batch_created"),
                    models.Index(fields=["finished_at"], name="taskyard_batch_finished"),
                    models.Index(fields=["subject_type", "subject_id"], name="taskyard_batch_subject"),
                ],
            },
        ),
        migrations.CreateModel(
            name="BatchTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("batch", models.UUIDField()),
                ("what", models.CharField(max_length=10)),
                ("delta", models.IntegerField()),
            ],
            options={"indexes": [models.Index(fields=["batch", "id"], name="taskyard_tally_batch")]},
        ),
        migrations.AddField(model_name="job", name="batch", field=models.UUIDField(null=True)),
        # MariaDB and MySQL cannot roll DDL back, and it is refused inside a transaction there.
        migrations.RunPython(create_batch, drop_batch, atomic=False),
    ]
