"""Scores from per-example statistics, their intervals, and tests of differences. Pure numpy."""
