"""The plan of a sweep: memory, duration and cost, measured on a few steps."""
