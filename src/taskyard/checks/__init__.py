"""System checks: what would go wrong later is said before anything starts. ``docs/checks.md`` has a section for each.

Silent when all is well. They import nothing of the project and ask no database, but for those Django runs with
``check --database``.
"""

from __future__ import annotations

from django.core import checks

from taskyard.checks import configuration, options, report, sagas, sqlite, startup, tenants
from taskyard.checks.source import findings

TAG = "taskyard"

#: Each takes nothing and yields what it found.
CHECKS = (
    configuration.check_settings,
    configuration.check_content_types,
    tenants.check_schemas,
    tenants.check_databases,
    sqlite.check_transactions,
    startup.check_order,
    options.check_options,
    findings.check_source,
)


def register() -> None:
    """Called by ``TaskyardConfig.ready()``."""
    for check in CHECKS:
        checks.register(report.as_djangos(check), TAG)
    checks.register(sqlite.check_database, TAG, checks.Tags.database)
    checks.register(sagas.check_database, TAG, checks.Tags.database)
    checks.register(report.raise_fatal, TAG, deploy=True)
