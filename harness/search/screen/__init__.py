"""Display of a running sweep: the live screen, lines in a log, time left."""
