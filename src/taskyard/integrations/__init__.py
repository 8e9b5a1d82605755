"""Foreign interfaces, one package or file for each."""
