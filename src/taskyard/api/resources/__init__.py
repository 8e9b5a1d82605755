"""The handlers, by kind of thing."""
