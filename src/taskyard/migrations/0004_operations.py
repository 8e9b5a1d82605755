from django.db import migrations, models

import taskyard.runtime.fields


class Migration(migrations.Migration):

    dependencies = [
        ('taskyard', '0003_schedules'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('who', models.CharField(max_length=150)),
                ('user', models.CharField(default='', max_length=150)),
                ('tenant', models.CharField(default='', max_length=63)),
                ('verb', models.CharField(max_length=32)),
                ('kind', models.CharField(max_length=32)),
                ('target', models.CharField(default='', max_length=300)),
                ('count', models.IntegerField(default=1, null=True)),
                ('before', taskyard.runtime.fields.JsonTextField(null=True)),
                ('after', taskyard.runtime.fields.JsonTextField(null=True)),
                ('said', taskyard.runtime.fields.JsonTextField(null=True)),
                ('reason', models.CharField(default='', max_length=500)),
                ('via', models.CharField(default='', max_length=32)),
                ('address', models.CharField(default='', max_length=64)),
                ('job', models.UUIDField(null=True)),
            ],
            options={
                'default_permissions': ('view',),
                'indexes': [
                    models.Index(fields=['tenant', 'id'], name='taskyard_audit_tenant'),
                    models.Index(fields=['kind', 'target', 'id'], name='taskyard_audit_target'),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name='job',
            options={'permissions': [
                ('view_payload', 'Can see arguments, results and the words of errors'),
                ('enqueue_job', 'Can enqueue jobs, also as copies of others'),
                ('retry_job', 'Can retry jobs'),
                ('cancel_job', 'Can cancel jobs'),
                ('discard_job', 'Can discard failed jobs'),
                ('edit_job', 'Can change the arguments of jobs that ended, and retry them'),
                ('prune_job', 'Can delete jobs that ended'),
            ]},
        ),
        migrations.AlterModelOptions(
            name='queuesetting',
            options={'permissions': [
                ('view_queue', 'Can view queues'),
                ('pause_queue', 'Can pause and resume queues'),
                ('limit_queue', 'Can limit queues'),
                ('clear_queue', 'Can cancel everything that waits in a queue'),
            ]},
        ),
        migrations.AlterModelOptions(
            name='tenantsetting',
            options={'permissions': [
                ('view_tenant', 'Can view tenants'),
                ('pause_tenant', 'Can pause and resume tenants'),
                ('limit_tenant', 'Can limit tenants and weigh them'),
            ]},
        ),
        migrations.AlterModelOptions(
            name='worker',
            options={'permissions': [('stop_worker', 'Can stop workers')]},
        ),
        migrations.AlterModelOptions(
            name='schedule',
            options={'permissions': [
                ('run_schedule', 'Can run schedules now'),
                ('pause_schedule', 'Can pause and resume schedules'),
                ('backfill_schedule', 'Can run due times of the past'),
            ]},
        ),
    ]
