from django.db import migrations

from taskyard.jobs.indexes import create_lists, drop_lists


class Migration(migrations.Migration):
    dependencies = [("taskyard", "0009_api_tokens")]
    operations = [
        # MariaDB and MySQL cannot roll DDL back, and it is refused inside a transaction there.
        migrations.RunPython(create_lists, drop_lists, atomic=False),
        migrations.AlterModelOptions(
            name="auditentry",
            options={"default_permissions": ("view",), "verbose_name_plural": "audit entries"},
        ),
        migrations.AlterModelOptions(
            name="queuesetting",
            options={
                "permissions": [
                    ("view_queue", "Can view queues"),
                    ("pause_queue", "Can pause and resume queues"),
                    ("limit_queue", "Can limit queues"),
                    ("clear_queue", "Can cancel everything that waits in a queue"),
                ],
                "verbose_name": "queue",
            },
        ),
        migrations.AlterModelOptions(
            name="tenantsetting",
            options={
                "permissions": [
                    ("view_tenant", "Can view tenants"),
                    ("pause_tenant", "Can pause and resume tenants"),
                    ("limit_tenant", "Can limit tenants and weigh them"),
                ],
                "verbose_name": "tenant",
            },
        ),
    ]
