"""Weights of a model: stored size, float32 copies, training of single entries, normality."""
