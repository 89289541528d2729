"""Scores from per-example statistics, their intervals, and which differences are real. Pure numpy."""
