"""Orchestrators as the project writes them: classes, their steps, and who knows them by name."""
