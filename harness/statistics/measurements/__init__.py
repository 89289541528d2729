"""Definitions of all kinds of measurement: formula, unit, direction and wording."""
