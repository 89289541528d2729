"""Rows as token sequences and batches, and their cache."""
