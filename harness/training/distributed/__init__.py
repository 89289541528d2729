"""One trial over several processes: shared steps, sharded weights."""
