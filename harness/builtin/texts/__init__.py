"""Generators of the built-in data: an invented world, and texts about it."""
