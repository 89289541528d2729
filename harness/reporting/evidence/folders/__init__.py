"""Folders of results as runs: of a sweep, of several sweeps, and of other tools."""
