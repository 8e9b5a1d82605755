"""Taskyard's core in one process, one thread and one seed: virtual time, a model broker, faults at every statement."""
