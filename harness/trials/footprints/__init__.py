"""Footprints: memory and time of a configuration, measured on a few real steps before a sweep."""
