"""Who acts, by which permission, and what is written down about it."""
