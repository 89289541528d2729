"""One trial: a job in, a record out."""
