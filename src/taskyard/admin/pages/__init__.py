"""Pages of what is operated: lists of any length, questions before something is done, one file for each kind of row."""
