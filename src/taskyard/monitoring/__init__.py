"""Is it well: the checks behind `doctor`, probes for whoever restarts processes, and health over HTTP."""
