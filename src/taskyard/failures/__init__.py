"""Jobs that stand failed, grouped by what went wrong: who records one, who looks, what a person says of a group."""
