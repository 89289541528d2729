"""The plan of a sweep: memory, duration and cost."""
