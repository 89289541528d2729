"""Checks of a loaded model: causal, complete, long enough, and heeding packed texts."""
