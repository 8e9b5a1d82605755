"""The read side: pages of sagas, everything about one, why it waits, its timeline, and what no code can run."""
