"""Every cell on the target's test split, and what comes of it: the choice and the report."""
