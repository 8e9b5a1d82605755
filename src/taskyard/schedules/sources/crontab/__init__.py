"""Crontab files: five fields and a command, run as jobs."""
