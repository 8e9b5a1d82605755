"""The coordinator's decisions: what a saga is, what happened, what it is now, what is to be done. No rows, no clock."""
