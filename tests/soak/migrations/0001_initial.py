"""What the old release needs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Mark", [("job", models.UUIDField(primary_key=True, serialize=False))]),
    ]
