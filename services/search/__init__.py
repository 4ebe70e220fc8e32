"""People to results."""
