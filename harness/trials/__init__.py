"""One trial, from its job to its record."""
