import taskyard.runtime.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('taskyard', '0006_failures'),
    ]

    operations = [
        migrations.AddField(
            model_name='worker',
            name='pulse',
            field=taskyard.runtime.fields.JsonTextField(null=True),
        ),
        migrations.AddField(
            model_name='worker',
            name='role',
            field=models.CharField(db_default='worker', default='worker', max_length=16),
        ),
    ]
