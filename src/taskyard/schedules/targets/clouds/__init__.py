"""Clouds' own schedulers, which call by HTTP: docs/trigger.md says how they are answered."""
