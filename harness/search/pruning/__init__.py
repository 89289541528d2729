"""Pruning: trials are stopped early by rungs and non-dominated sorting."""
