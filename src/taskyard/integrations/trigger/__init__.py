"""The HTTP endpoint that a cloud's scheduler calls at each due time; docs/trigger.md has the protocol."""
