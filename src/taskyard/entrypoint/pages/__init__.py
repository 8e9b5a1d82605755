"""One thing on the terminal: everything about it, in the order a person asks."""
