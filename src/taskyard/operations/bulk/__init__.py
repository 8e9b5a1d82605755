"""Verbs over many jobs: chosen by a filter, counted before, done in batches at a rate, stopped by whoever wants."""
