"""Trials of a sweep that one worker trains together, each measured as if it were alone."""
