"""Passes with a cache of keys and values: continued texts, and virtual tokens read once."""
