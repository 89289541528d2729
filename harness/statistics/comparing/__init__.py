"""Comparisons of configurations over items and seeds, with family-wise error control."""
