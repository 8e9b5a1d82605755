"""The test kit: break things on purpose, and find out afterwards whether what was promised held.

``faults`` names the places where a process may be made to die, ``processes`` kills and stops, ``proxy`` stands between
a client and its server, ``history`` writes down outside of the database what really ran, ``checker`` compares that with
the table. Nothing here is used in production, and nothing of it costs anything there.
"""
