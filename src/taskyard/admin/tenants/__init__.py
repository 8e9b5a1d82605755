"""Whom work is done for, and who may ask for it by a program: tenants, and the tokens of the API."""
