"""Bases: loading one, lending it to trial after trial, and logits only where they are needed."""
