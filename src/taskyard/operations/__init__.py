"""What an operator may do: one function for each verb, which asks for its permission and keeps to its tenant.

Each takes an :class:`Actor` first, and writes an audit entry. Commands, pages and interfaces change nothing otherwise.
"""

from taskyard.operations.acting.actor import Actor

__all__ = ["Actor"]
