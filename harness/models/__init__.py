"""Base models: loading, lending to trials, and logits at the positions that need them."""
