"""What a saga writes: its rows, a transition at a time, and its jobs; how one begins, is forked and is deleted."""
