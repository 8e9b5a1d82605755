"""Modules and names of packages that people come from, on Taskyard's engine."""
