"""Training of one trial by several processes, with full or sharded weights."""
