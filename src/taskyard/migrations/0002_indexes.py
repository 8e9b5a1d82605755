"""Indexes that differ between databases."""

from django.db import migrations

from taskyard.jobs.indexes import create, drop


class Migration(migrations.Migration):
    # MariaDB and MySQL cannot roll DDL back, and RunPython refuses to run it inside a transaction there.
    atomic = False
    dependencies = [("taskyard", "0001_initial")]
    operations = [migrations.RunPython(create, drop)]
