"""Pages of jobs: the list, the page of one, and what may be done to one, to those chosen, and to all that match."""
