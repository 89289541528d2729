"""A chosen part of the base itself: which entries matter, and training those and nothing else."""
