"""Taskyard measured beside what people would pick instead; docs/benchmarks.md says how."""
