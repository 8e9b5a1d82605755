"""Pages of sagas: the list, the page of one with its timeline, and what may be done to one and to its steps."""
