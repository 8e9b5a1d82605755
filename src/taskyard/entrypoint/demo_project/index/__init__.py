"""Counts the words of files."""
