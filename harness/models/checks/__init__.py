"""Checks of a loaded model: causality, completeness, positions, and separation of packed texts."""
