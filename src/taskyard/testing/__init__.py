"""The test kit: for your tests, and for breaking things on purpose to see whether what was promised holds.

:func:`tenants_allowed` lets a test reach the databases of tenants.

``faults`` names the places where a process may be made to die, ``processes`` kills and stops, ``proxy`` stands between
a client and its server, ``history`` writes down outside of the database what really ran, ``checker`` compares that with
the table. Nothing here is used in production, and nothing of it costs anything there.
"""

from taskyard.testing.tenants import tenants_allowed

__all__ = ["tenants_allowed"]
