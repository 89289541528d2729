"""Early stopping by rungs and non-dominated sorting."""
