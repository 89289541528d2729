"""Comparisons of configurations over items and seeds, with errors held for the whole family."""
