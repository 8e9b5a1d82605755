"""The soak: real servers of its own, real workers, random faults from a printed seed, then the checker.

``make soak MINUTES=20 BROKER=redis DB=postgres SEED=7``, or ``python -m tests.soak --help``. The same seed gives the
same faults in the same order. It ends with a table, a row for docs/reliability.md, and exit code 1 if anything is
wrong. Then the folder with the history, the workers' logs and the offending jobs is kept and named.
"""
