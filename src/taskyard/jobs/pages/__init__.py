"""Pages of very long lists, and counts that stop: how lists are read where there are ten million rows."""
