"""Data from files and hubs to batches: rows and their splits, then tokens."""
