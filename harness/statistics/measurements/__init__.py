"""Every kind of measurement: formula, unit, direction and definition."""
