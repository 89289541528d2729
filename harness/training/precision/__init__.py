"""Compute precision of forward and backward passes, and stochastic rounding of 16-bit weights."""
