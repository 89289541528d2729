"""The plan of a sweep: what fits, how long it takes, and what it costs."""
