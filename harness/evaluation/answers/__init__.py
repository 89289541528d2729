"""Scores of generated answers, each by the library that defines it."""
