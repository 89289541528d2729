"""Learned vectors before the input, or before the keys and values of each layer."""
