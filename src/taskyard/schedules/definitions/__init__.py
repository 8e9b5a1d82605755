"""What somebody wants of a schedule: said, checked, limited, and carried into its row."""
