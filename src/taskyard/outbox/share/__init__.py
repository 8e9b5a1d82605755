"""Whose turn it is: fair share among tenants, and the limits that operators set."""
