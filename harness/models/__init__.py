"""Base models: loading, lending to one trial after another, and logits only where needed."""
