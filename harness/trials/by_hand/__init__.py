"""Trials and scores that a person asks for by command, outside a sweep."""
