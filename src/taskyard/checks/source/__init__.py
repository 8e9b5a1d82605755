"""Reading the project's own modules, without importing any: what they declare, send and swallow."""
