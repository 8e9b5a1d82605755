"""What the new release needs; applied before any of its processes starts, while the old ones run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("soak", "0001_initial")]
    operations = [migrations.AddField("mark", "tone", models.CharField(max_length=20, null=True))]
