"""Checks of a loaded model: causality, complete weights, positions, separation of packed texts."""
