from django.db import migrations, models

import taskyard.runtime.fields


class Migration(migrations.Migration):
    dependencies = [("taskyard", "0008_pulse")]
    operations = [
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                ("prefix", models.CharField(max_length=8, unique=True)),
                ("digest", models.CharField(max_length=64)),
                ("scopes", taskyard.runtime.fields.JsonTextField(default=list)),
                ("tenant", models.CharField(max_length=63, null=True)),
                ("user", models.CharField(default="", max_length=150)),
                ("created_at", models.DateTimeField()),
                ("created_by", models.CharField(default="", max_length=150)),
                ("expires_at", models.DateTimeField(null=True)),
                ("last_used_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
            options={"default_permissions": ("view", "add", "delete"), "verbose_name": "API token"},
        ),
    ]
